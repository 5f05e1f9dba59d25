"""From integrals along rays to the picture that a detector and its processing make of them, wide on purpose."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.lab.simulation.projection.rays import WATER_PER_MM, FloatImage

Image = FloatImage

BONE_CONTRAST: Final = (1.5, 5.0)
"""Weight of mineral against water: the beam is softer than that of CT, and sound bone denser than the drawn one."""

CEMENT_PER_MM: Final = (0.035, 0.12)
"""What cement attenuates beyond marrow: 1000 to 3000 HU, more in the softer beam of a film."""

SHARPEST: Final = 3.0
"""Endplates are thinner and denser than the drawing's grid can hold; sharpening the mineral gives their lines back."""

EVENED_RATE: Final = 0.75
"""Share of the pictures in which differences over large distances are made weaker."""

SCATTER_SHARE: Final = 0.1
"""Blur of what shines behind a collimator, of the picture's longer side."""

HARSH_RATE: Final = 0.15
"""Share of the pictures with a window so narrow that lungs go black and part of the spine white, as on films of the
whole spine."""


LETTER_PX: Final = (6.0, 48.0)
"""Height of letters and numbers, log-uniform: from dates at the rim to leaden sides."""


def expose(
    soft: Image, bone: Image, cement: Image, metal: Image, *, pixel_mm: float, rng: np.random.Generator
) -> Image:
    """The attenuation that a random beam and detector see (rows, columns): scatter, blur, noise, saturation.

    Args:
        soft, bone: Integrals in mm of water.
        cement, metal: Length of ray in mm.
        pixel_mm: Pixel size.
        rng: Draws tube voltage, dose, scatter, focal spot, detector.
    """
    from scipy import ndimage

    fine = ndimage.gaussian_filter(bone, 2.5 / pixel_mm)
    bone = np.maximum(bone + rng.uniform(0.0, SHARPEST) * (bone - fine), 0)
    log = WATER_PER_MM * rng.uniform(0.7, 1.1) * (soft + np.exp(rng.uniform(*np.log(BONE_CONTRAST))) * bone)
    log = log + rng.uniform(*CEMENT_PER_MM) * cement + rng.uniform(0.15, 0.5) * metal
    log = log + _field(log.shape, rng) * rng.uniform(0, 0.25)
    transmitted = np.exp(-log)
    scatter = rng.uniform(0.0, 0.5) * _wide_blur(transmitted, rng.uniform(15, 40) / pixel_mm)
    transmitted = ndimage.gaussian_filter(transmitted + scatter, abs(rng.normal(0, 0.7)) / pixel_mm)
    typical = float(np.median(transmitted))
    quanta = 10 ** rng.uniform(2.6, 5.0)  # per pixel behind the patient
    noise = rng.standard_normal(log.shape).astype(np.float32)
    if rng.random() < 0.5:
        grain = rng.uniform(0.4, 1.2)
        noise = ndimage.gaussian_filter(noise, grain) * (2 * grain + 0.5)
    transmitted = transmitted + noise * np.sqrt(np.maximum(transmitted, 0.02 * typical) * typical / quanta)
    darkest = typical * 10 ** rng.uniform(-3.0, -1.0)
    return np.asarray(-np.log(np.maximum(transmitted, darkest) / typical), dtype=np.float32)


def _wide_blur(image: Image, sigma_px: float) -> Image:
    """About a Gaussian filter, by three running means: its cost does not grow with its width."""
    from scipy import ndimage

    size = max(round(2 * sigma_px), 1)  # three means of n pixels have a variance of about n^2 / 4
    for _ in range(3):
        image = ndimage.uniform_filter(image, size)
    return image


def _field(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """A smooth random field (rows, columns) with a standard deviation of about one: what the phantom lacks."""
    import torch

    coarse = rng.standard_normal((int(rng.integers(3, 9)), int(rng.integers(3, 9))), dtype=np.float32)
    size = (int(shape[0]), int(shape[1]))
    field = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None, None], size, mode="bicubic", align_corners=True
    )
    return np.asarray(field[0, 0].numpy())


def develop(log: Image, seen: npt.NDArray[np.bool_], rng: np.random.Generator) -> Image:
    """What a vendor's processing makes of it: tone curve, local contrast, edges.

    Args:
        log: Attenuation (rows, columns).
        seen: Pixels that hold a part of the patient, which alone decide the window.
        rng: Draws the processing.

    Returns:
        The picture (rows, columns), 0 to 1.
    """
    from scipy import ndimage

    if not seen.any():
        return np.zeros_like(log)
    middle = float(np.median(log[seen]))
    image = np.where(seen, log, middle)
    if rng.random() < EVENED_RATE:  # large structures made weaker, as every digital system does
        radius = rng.uniform(0.05, 0.25) * max(image.shape)
        image = image - rng.uniform(0.5, 0.97) * _wide_blur(np.asarray(image, dtype=np.float32), radius)
    else:
        image = image - middle
    draw = rng.random()
    if draw < 0.2:  # linear in dose, shown with bone bright
        image = -np.exp(-rng.uniform(0.3, 1.0) * image)
    elif draw < 0.5:  # a film's curve
        image = 1 / (1 + np.exp(-(image - rng.normal(0, 0.2)) * rng.uniform(1.0, 4.0)))
    if rng.random() < 0.2:
        image = _equalized(np.asarray(image, dtype=np.float32), rng)
    if rng.random() < 0.4:
        image = image + rng.uniform(0.2, 2.0) * (image - ndimage.gaussian_filter(image, rng.uniform(0.8, 4.0)))
    is_harsh = rng.random() < HARSH_RATE
    black, white = (rng.uniform(0, 30), rng.uniform(86, 98)) if is_harsh else (rng.uniform(0, 8), rng.uniform(96, 100))
    low, high = np.percentile(image[seen], [black, white])
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return np.asarray(image ** rng.uniform(0.6, 1.6), dtype=np.float32)


def _equalized(image: Image, rng: np.random.Generator) -> Image:
    from skimage import exposure

    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-6)
    size = max(image.shape) // int(rng.integers(3, 10))
    return np.asarray(exposure.equalize_adapthist(scaled, kernel_size=size, clip_limit=rng.uniform(0.005, 0.03)))


def clutter(image: Image, rng: np.random.Generator) -> Image:
    """Lay things over the patient that are no anatomy: cables, clothing, letters. The picture is 0 to 1."""
    result = image.copy()
    for _ in range(int(rng.poisson(0.5))):
        result += rng.uniform(0.05, 0.4) * _cable(image.shape, rng)
    if rng.random() < 0.1:  # folds and seams
        rows, columns = np.indices(image.shape)
        wave = np.sin((rows * rng.normal() + columns * rng.normal()) * rng.uniform(0.05, 0.3))
        result += rng.uniform(0.01, 0.05) * wave.astype(np.float32)
    for _ in range(int(rng.poisson(0.9))):
        _letters(result, rng)
    for _ in range(int(rng.poisson(0.3))):
        _plate(result, rng)
    return np.clip(result, 0, 1)


def _cable(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """A thin bent line, at times with a disc at its end (rows, columns), 0 or 1."""
    from skimage import draw

    drawn = np.zeros(shape, dtype=np.float32)
    r = rng.uniform(0, shape[0], 3).astype(int)
    c = rng.uniform(0, shape[1], 3).astype(int)
    for shift in range(int(rng.integers(1, 3))):
        rr, cc = draw.bezier_curve(
            r[0], c[0] + shift, r[1], c[1], r[2], c[2] + shift, weight=float(rng.uniform(0.5, 2)), shape=shape
        )
        drawn[rr, cc] = 1
    if rng.random() < 0.5:
        rr, cc = draw.disk((r[2], c[2]), int(rng.integers(2, 9)), shape=shape)
        drawn[rr, cc] = 1
    return drawn


def _letters(image: Image, rng: np.random.Generator) -> None:
    """Burn a marker in: letters, a frame, or a filled box."""
    from PIL import Image as Picture
    from PIL import ImageDraw

    text = "".join(rng.choice(list("LRABDEHKMNPSTX0123456789:/"), size=int(rng.integers(1, 9))))
    size = round(np.exp(rng.uniform(*np.log(LETTER_PX))))
    picture = Picture.new("L", (size * (len(text) + 1), 2 * size))
    painter = ImageDraw.Draw(picture)
    painter.text((2, 2), text, fill=255, font_size=size)
    if rng.random() < 0.3:
        painter.rectangle([0, 0, picture.width - 1, picture.height - 1], outline=255)
    if rng.random() < 0.3:  # a side marker: dark letters on a bright plate
        picture = Picture.eval(picture, lambda value: 255 - value)
    stamp = np.asarray(picture, dtype=np.float32) / 255
    row, column = rng.integers(0, image.shape[0]), rng.integers(0, image.shape[1])
    part = image[row : row + stamp.shape[0], column : column + stamp.shape[1]]
    stamp = stamp[: part.shape[0], : part.shape[1]] * rng.uniform(0.5, 1.0)
    part += stamp * ((1.0 if rng.random() < 0.85 else 0.0) - part)


def _plate(image: Image, rng: np.random.Generator) -> None:
    """Lay a plain plate over the picture: an arrow, a box, a button, or the end of a brace."""
    from skimage import draw

    sides = int(rng.integers(3, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, sides))
    radius = rng.uniform(3, 26) * np.array([[1.0], [rng.uniform(0.4, 1.0)]])
    at = rng.uniform(0, image.shape)[:, None] + radius * np.stack([np.sin(angles), np.cos(angles)])
    rows, columns = draw.polygon(at[0], at[1], image.shape)
    strength = rng.uniform(0.3, 1.0)
    image[rows, columns] += strength * (rng.choice([0.0, 1.0], p=[0.2, 0.8]) - image[rows, columns])


def angiogram(image: Image, rng: np.random.Generator) -> Image:
    """Fill vessels with contrast medium: trees that branch and taper, bright like bone. The picture is 0 to 1."""
    from scipy import ndimage
    from skimage import draw

    size = min(image.shape)
    filled = np.zeros(image.shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        start = rng.uniform(0.1, 0.9, 2) * image.shape
        buds = [(start, rng.uniform(0, 2 * np.pi), rng.uniform(0.008, 0.03) * size, rng.uniform(0.4, 1.2) * size)]
        while buds:
            at, heading, radius, left = buds.pop()
            bend = rng.normal(0, 0.04)
            while left > 0 and radius > 0.4:
                rows, columns = draw.disk((at[0], at[1]), radius, shape=image.shape)
                filled[rows, columns] = np.maximum(filled[rows, columns], radius / (0.03 * size))
                step = max(radius, 1.0)
                at = at + step * np.array([np.sin(heading), np.cos(heading)])
                heading += bend + rng.normal(0, 0.06)
                left, radius = left - step, radius * 0.9965**step
                if rng.random() < 0.012 * step and len(buds) < 12:
                    turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
                    buds.append((at, heading + turn, radius * rng.uniform(0.5, 0.9), left * rng.uniform(0.4, 0.9)))
    shadow = ndimage.gaussian_filter(np.sqrt(np.minimum(filled, 1)), 0.7)
    darkened: Image = np.clip(image + rng.uniform(0.15, 0.7) * shadow, 0, 1).astype(np.float32)
    return darkened


def collimate(image: Image, rng: np.random.Generator, *, rate: float = 0.45) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Close a collimator, square or round, on some pictures.

    Returns:
        The picture, dark or bright outside, and where it shows the patient.
    """
    rows, columns = np.indices(image.shape)
    size = np.array(image.shape)
    open_field = np.ones(image.shape, dtype=bool)
    draw = rng.random()
    if draw < 0.3 * rate:
        middle = size / 2 + rng.normal(0, 0.05, 2) * size
        radius = rng.uniform(0.4, 0.62) * size.min()
        open_field = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
    elif draw < rate:
        angle = rng.normal(0, 0.03)
        for at, extent in ((rows + angle * columns, size[0]), (columns - angle * rows, size[1])):
            open_field &= (at > rng.uniform(-0.2, 0.22) * extent) & (at < rng.uniform(0.78, 1.2) * extent)
    if open_field.mean() < 0.25:
        return image, np.ones(image.shape, dtype=bool)
    outside = rng.choice([0.0, 1.0, rng.random()], p=[0.6, 0.25, 0.15])
    # What reaches the detector behind the blades was scattered: it brightens, and has no edges.
    scattered = rng.uniform(0, 0.15) if rng.random() < 0.5 else 0.0
    shadow = np.full_like(image, outside)
    if scattered:
        shadow += scattered * (_wide_blur(image, SCATTER_SHARE * max(image.shape)) - outside)
    return np.where(open_field, image, shadow).astype(np.float32), open_field
