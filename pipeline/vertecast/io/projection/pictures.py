"""PNG and JPEG files as radiographs, for research: they say nothing of polarity, spacing or view."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core.errors import InputError, UnreadableError, UnsupportedError
from vertecast.io.projection.frames import grey_picture
from vertecast.io.sources import FileRef, cause

MAX_PIXELS: Final = 100_000_000
"""Four times the largest detector; a larger picture is no radiograph, and unpacking it would take the memory."""

FULL_SCALE_16: Final = 65535.0

Grey = npt.NDArray[np.float32]
Coloured = npt.NDArray[np.bool_]


def read_picture(source: FileRef) -> tuple[Grey, Coloured, float]:
    """Read a picture.

    Returns:
        Grey values (rows, columns), float32; where it is coloured or transparent; the largest value it can hold.

    Raises:
        UnreadableError: the file is damaged.
        UnsupportedError: it is a colour picture, has several pages or is too large.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError

    # weasyprint, once it has printed a report in this process, leaves Pillow filling up what a damaged file lacks.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings(), source.open() as file:
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnsupportedError(f"{source}: {image.width} × {image.height} pixels are no radiograph")
                if getattr(image, "n_frames", 1) > 1:
                    raise UnsupportedError(f"{source}: is an animation; give its frames as DICOM or single pictures")
                return _values(image, str(source))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UnreadableError(f"{source}: the picture is damaged ({cause(error)}); copy it again") from error


def _values(image: Any, name: str) -> tuple[Grey, Coloured, float]:
    """Grey values of an opened picture, turned as viewers show it: photographs of films are stored lying."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image).astype(np.float32)
        return values, np.zeros(values.shape, bool), FULL_SCALE_16
    if image.mode in ("1", "L"):
        values = np.asarray(image.convert("L")).astype(np.float32)
        return values, np.zeros(values.shape, bool), 255.0
    # Palettes, transparency, CMYK and YCbCr all become red, green, blue and opacity.
    picture = np.asarray(image.convert("RGBA"))
    grey, coloured = grey_picture(picture[..., :3], 255.0, name)
    return grey.astype(np.float32), coloured | (picture[..., 3] < 128), 255.0
