"""A radiograph in, vertebral bodies with their points, sacrum, cement and metal out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from vertecast.core.config import Device
from vertecast.core.images import ProjectionSegmentation, Radiograph, View
from vertecast.segmentation.projection.bundle import XrayBundle
from vertecast.segmentation.projection.column import column_of
from vertecast.segmentation.projection.endplates import onto_edges
from vertecast.segmentation.projection.votes import VotedBody, find_bodies, sacral_endplate
from vertecast.segmentation.runtimes.device import on_device, torch_device

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float32]

FIRST_LONG_SIDE_PX: Final = 448
"""Long side of the picture at first sight: a body of a lumbar film is then 30 to 45 pixels deep."""

FIRST_SHORT_SIDE_PX: Final = 256
"""Least short side at first sight, the edge of a training picture: on a long, narrow film of the whole spine bodies
would else be a dozen pixels high."""

SPOT_SHARE: Final = 0.5
"""Where nothing is found the picture is looked at once more, this much smaller: a spot film shows one or two levels,
whose bodies are larger at first sight than any that the network knows."""

LARGEST_LONG_SIDE_PX: Final = 1152
WANTED_DEPTH_PX: Final = 36.0
"""Depth of a body in the picture that is measured on, in the middle of what the network was trained on."""

DEPTH_RANGE_PX: Final = (27.0, 46.0)
"""Bodies of this depth at first sight are measured at once."""

CLOSE_DEPTHS_PX: Final = (66.0, 80.0)
"""Depths of a body in the pictures in which its points are read again; the mean of all looks counts. Median error of a
corner in shares of the depth, at first sight and in this mean, xray_spine 0.4.0: real lateral films 8.1 and 6.5 %, real
AP films 10.7 and 9.9 % (every third of 40); simulated ones 5.3 and 5.0 %, 5.3 and 5.4 %."""

CLOSE_MARGIN: Final = 1.5
"""So many depths round the column are seen then; a choice."""

SAME_BODY_SHARE: Final = 0.35
"""Centres of the same body lie nearer to each other in both looks than this share of its depth; a choice."""

LEAST_BODIES: Final = 2
"""Fewer bodies than this are no spine."""

NO_SPINE_PROBABILITY: Final = 0.5
"""From here on the picture as a whole shows no spine, whatever looks like a body in it."""

LEAST_CONFIDENCE: Final = 0.35
SURE_CONFIDENCE: Final = 0.45
"""A spine needs two bodies of this confidence; less sure ones count beside them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What the network says: maps, votes ``offset`` (12, ...) and ``plate`` (4, ...) in pixels, views (4,)."""

    maps: dict[str, Array]
    offset: Array
    plate: Array
    view: Array
    anterior_left: float
    upright: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class XraySegmenter:
    """The network of an X-ray bundle, loaded once."""

    bundle: XrayBundle
    net: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

    @classmethod
    def load(cls, folder: Path, *, device: Device = "auto") -> XraySegmenter:
        """Load and verify a bundle.

        Raises:
            BundleError: it is missing, altered or does not fit.
            ConfigurationError: there is no such ``device``.
        """
        bundle = XrayBundle.open(folder)
        return cls(bundle=bundle, net=on_device(bundle.load(), torch_device(device), is_asked=device != "auto"))

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        """Find the vertebral bodies and what belongs to them. A picture without a spine has no body and no view.

        Args:
            radiograph: The picture.
            depth_px: Depth of its bodies in columns where that is known, as in a cine. One look without its mirror
                image is enough then: bodies are averaged over the frames.
        """
        aspect = 1.0
        if radiograph.spacing is not None:
            aspect = radiograph.spacing.row_mm / radiograph.spacing.column_mm
        rows, columns = radiograph.shape
        short, long = sorted((rows * aspect, float(columns)))
        largest = LARGEST_LONG_SIDE_PX / long
        scale = min(max(FIRST_LONG_SIDE_PX / long, FIRST_SHORT_SIDE_PX / short), largest)
        if depth_px is not None:
            scale = min(WANTED_DEPTH_PX / depth_px, largest)
        seen, bodies = self._look(radiograph, (scale * aspect, scale), mirrored=depth_px is None)
        if len(bodies) < LEAST_BODIES and depth_px is None:
            smaller, found = self._look(radiograph, (SPOT_SHARE * scale * aspect, SPOT_SHARE * scale))
            if len(found) > len(bodies):
                seen, bodies, scale = smaller, found, SPOT_SHARE * scale
        if bodies and depth_px is None:
            depth = float(np.median([body.depth_px for body in bodies]))
            if not DEPTH_RANGE_PX[0] <= depth <= DEPTH_RANGE_PX[1]:
                again = min(scale * WANTED_DEPTH_PX / depth, largest)
                closer, found = self._look(radiograph, (again * aspect, again))
                if len(found) >= len(bodies) - 1:
                    seen, bodies, scale = closer, found, again
        if len(bodies) >= LEAST_BODIES and depth_px is None:
            bodies = self._closer(radiograph, bodies, np.array([scale, scale * aspect]))
        return self._result(radiograph, seen, bodies, np.array([scale, scale * aspect]))

    def _closer(
        self, radiograph: Radiograph, bodies: list[VotedBody], scale: npt.NDArray[np.float64]
    ) -> list[VotedBody]:
        """The bodies with their points read again where they are larger, and averaged over the looks.

        Args:
            radiograph: The picture.
            bodies: As they were found at ``scale`` (columns, rows).
            scale: From the radiograph to the working picture.
        """
        depth = float(np.median([body.depth_px for body in bodies]))
        every = np.concatenate([body.points_px for body in bodies])
        margin = CLOSE_MARGIN * depth
        low, high = _onto(every.min(axis=0) - margin, scale), _onto(every.max(axis=0) + margin, scale)
        rows, columns = radiograph.shape
        first = np.clip(np.floor(low), 0, (columns - 1, rows - 1)).astype(int)
        last = np.clip(np.ceil(high) + 1, first + 1, (columns, rows)).astype(int)
        part = (slice(first[1], last[1]), slice(first[0], last[0]))
        column = Radiograph(intensity=radiograph.intensity[part], valid=radiograph.valid[part])
        points, spread = [[body.points_px] for body in bodies], [[body.sd_px] for body in bodies]
        for close_px in CLOSE_DEPTHS_PX:
            closer = scale * close_px / depth
            _, found = self._look(column, (float(closer[1]), float(closer[0])))
            for again in found:
                here = (_onto(again.points_px, closer) + first + 0.5) * scale - 0.5
                away = [np.linalg.norm(body.points_px.mean(axis=0) - here.mean(axis=0)) for body in bodies]
                n = int(np.argmin(away))
                if away[n] <= SAME_BODY_SHARE * bodies[n].depth_px:
                    points[n].append(here)
                    spread[n].append(again.sd_px * depth / close_px)
        return [
            replace(body, points_px=np.mean(points[n], axis=0), sd_px=np.mean(spread[n], axis=0))
            for n, body in enumerate(bodies)
        ]

    def _look(
        self, radiograph: Radiograph, scale: tuple[float, float], *, mirrored: bool = True
    ) -> tuple[_Seen, list[VotedBody]]:
        """Run the network on a picture scaled by (rows, columns), and on its mirror image, and read the bodies."""
        shape = tuple(max(round(n * s), 32) for n, s in zip(radiograph.shape, scale, strict=True))
        image = _resized(radiograph.intensity, shape)
        valid = _resized(radiograph.valid.astype(np.float32), shape) > 0.5
        seen = self._run(image, valid)
        if mirrored:
            seen = _mean(seen, _unmirrored(self._run(image[:, ::-1], valid[:, ::-1])))
        bodies = find_bodies(seen.maps["body"], seen.maps["ribs"], seen.offset, valid)
        bodies = column_of([body for body in bodies if body.confidence >= LEAST_CONFIDENCE])
        return seen, onto_edges(bodies, seen.maps["body"])

    def _run(self, image: Array, valid: npt.NDArray[np.bool_]) -> _Seen:
        import torch

        from vertecast.segmentation.projection.network import (
            ANTERIOR_LEFT,
            MAPS,
            OFFSET_CHANNELS,
            OFFSET_SCALE_PX,
            PLATE_CHANNELS,
            STRIDE,
            UPRIGHT,
            VIEWS,
        )

        rows, columns = image.shape
        missing = [(0, -n % STRIDE) for n in image.shape]
        padded = torch.from_numpy(np.pad(image, missing, mode="edge"))[None, None]
        field = torch.from_numpy(np.pad(valid.astype(np.float32), missing))[None, None]
        with torch.inference_mode():
            output, view = self.net(padded, field)
        found = output[0, :, :rows, :columns]
        probability = found[: len(MAPS)].sigmoid().numpy()
        return _Seen(
            maps={name: np.where(valid, probability[n], 0).astype(np.float32) for n, name in enumerate(MAPS)},
            offset=found[OFFSET_CHANNELS].numpy() * np.float32(OFFSET_SCALE_PX),
            plate=found[PLATE_CHANNELS].numpy() * np.float32(OFFSET_SCALE_PX),
            view=view[0, : len(VIEWS)].softmax(0).numpy(),
            anterior_left=float(view[0, ANTERIOR_LEFT].sigmoid()),
            upright=float(view[0, UPRIGHT].sigmoid()),
        )

    def _result(
        self, radiograph: Radiograph, seen: _Seen, bodies: list[VotedBody], scale: npt.NDArray[np.float64]
    ) -> ProjectionSegmentation:
        """Carry what was found in the working picture onto the pixels of the radiograph."""
        shape = radiograph.shape
        sure = [body for body in bodies if body.confidence >= SURE_CONFIDENCE]
        shows_spine = len(sure) >= LEAST_BODIES and seen.view[0] < NO_SPINE_PROBABILITY
        view = _view(seen) if shows_spine else None
        bodies = bodies if view else []
        is_reversed = view != "ap" and seen.anterior_left < 0.5
        order = np.arange(6).reshape(2, 3)[:: 1 if seen.upright >= 0.5 else -1, :: -1 if is_reversed else 1].ravel()
        bodies = bodies if seen.upright >= 0.5 else bodies[::-1]
        number = np.zeros(seen.maps["body"].shape, dtype=np.uint8)
        for n, body in enumerate(bodies, start=1):
            number[body.pixels] = n

        def back(values: Array) -> npt.NDArray[np.float16]:
            import torch

            # NumPy halves floats one by one where the processor would do eight at once.
            return np.asarray(torch.from_numpy(_resized(values, shape)).half().numpy())

        plate = sacral_endplate(seen.maps["sacrum"], seen.plate) if view else None
        if plate is not None and is_reversed:
            plate = plate[::-1]
        points = np.array([body.points_px[order] for body in bodies]).reshape(-1, 6, 2)
        spread = np.array([body.sd_px[order] for body in bodies]).reshape(-1, 6)
        return ProjectionSegmentation(
            view=view,
            view_confidence=float(1 - seen.view[0] if view else seen.view[0]),
            points_px=_onto(points, scale),
            points_sd_px=spread / scale.mean(),
            confidence=tuple(body.confidence for body in bodies),
            touches_border=tuple(body.touches_border for body in bodies),
            rib_score=tuple(body.rib_score for body in bodies),
            instance=_nearest(number, shape),
            body_probability=back(seen.maps["body"]),
            sacrum_probability=back(seen.maps["sacrum"]),
            cement_probability=back(seen.maps["cement"]),
            metal_probability=back(seen.maps["metal"]),
            sacral_endplate_px=None if plate is None else _onto(plate, scale),
            models=self.bundle.models,
            limits=self.bundle.limits,
        )


def _view(seen: _Seen) -> View | None:
    """The likeliest view of a spine."""
    from vertecast.segmentation.projection.network import VIEWS

    names: dict[str, View] = {"lateral": "lateral", "ap": "ap", "oblique": "oblique"}
    return names[VIEWS[1 + int(np.argmax(seen.view[1:]))]]


def _onto(points_px: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (..., 2) of the working picture on the radiograph: pixel centres lie at whole numbers in both."""
    return np.asarray((points_px + 0.5) / scale - 0.5)


def _resized(values: npt.NDArray[np.generic], shape: tuple[int, ...]) -> Array:
    """Another size (rows, columns) by area means where it shrinks, linear where it grows."""
    import torch

    tensor = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))[None, None]
    size = (int(shape[0]), int(shape[1]))
    resized = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True)
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)


def _nearest(values: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape, values.shape, strict=True))
    return np.asarray(values[np.ix_(rows, columns)])


def _unmirrored(seen: _Seen) -> _Seen:
    """What was seen in the mirror image, in the coordinates and the order of the picture."""
    sign = np.tile(np.array([-1, 1], dtype=np.float32), 6)
    offset = seen.offset[:, :, ::-1] * sign[:, None, None]
    plate = seen.plate[:, :, ::-1] * sign[:4, None, None]
    offset = offset.reshape(2, 3, 2, *offset.shape[1:])[:, ::-1].reshape(offset.shape)
    plate = plate.reshape(2, 2, *plate.shape[1:])[::-1].reshape(plate.shape)
    maps = {name: values[:, ::-1] for name, values in seen.maps.items()}
    return replace(seen, maps=maps, offset=offset, plate=plate, anterior_left=1 - seen.anterior_left)


def _mean(a: _Seen, b: _Seen) -> _Seen:
    half = np.float32(0.5)
    return _Seen(
        maps={name: half * a.maps[name] + half * b.maps[name] for name in a.maps},
        offset=half * a.offset + half * b.offset,
        plate=half * a.plate + half * b.plate,
        view=half * a.view + half * b.view,
        anterior_left=(a.anterior_left + b.anterior_left) / 2,
        upright=(a.upright + b.upright) / 2,
    )
