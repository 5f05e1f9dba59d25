"""What the analysis of a study asks of what finds vertebrae."""

from __future__ import annotations

from typing import Protocol

from vertecast.core.images import ProjectionSegmentation, Radiograph, Segmentation, Volume


class Segmenter(Protocol):
    """What finds the vertebrae. The shipped one is `CtSegmenter`; tests bring their own."""

    def segment(self, volume: Volume) -> Segmentation:
        """Find vertebrae, cement and metal. Raises `UnsupportedError` where no spine is in view."""
        ...


class ProjectionSegmenter(Protocol):
    """What finds the vertebrae on a projection. The shipped one is `XraySegmenter`."""

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        """Find bodies, cement and metal; a picture without a spine has no body and no view.

        ``depth_px``: depth of its bodies in columns, where that is known.
        """
        ...
