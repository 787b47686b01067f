"""Colours of a decoded picture to sRGB, and the sRGB profile that is embedded."""

import contextlib
import functools
import io
import struct
from typing import Optional

import numpy as np
from PIL import Image, ImageCms


def to_srgb(image: Image.Image, profile: Optional[bytes]) -> np.ndarray:
    """Return float32 sRGB pixels of an image in mode L, I;16, RGB, CMYK or LAB."""
    if profile:
        # ValueError: names in a broken header that are not ASCII.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            image = _apply(ImageCms.ImageCmsProfile(io.BytesIO(profile)), image)
    if image.mode == "LAB":
        image = _apply(ImageCms.createProfile("LAB"), image)
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    pixels = np.array(image, dtype=np.float32)
    if image.mode == "I;16":
        pixels /= 257
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _apply(profile, image):
    """Return an image in mode RGB, from the colours of `profile` to sRGB."""
    # Grey pictures often carry the profile of the colour picture they were made from. Profiles of
    # RGB are applied with 8 bits.
    if image.mode in ("L", "I;16") and profile.profile.xcolor_space == "RGB ":
        image = _with_8_bits(image).convert("RGB")
    transform = ImageCms.buildTransform(profile, _srgb(), image.mode, "RGB")
    return ImageCms.applyTransform(image, transform)


def _with_8_bits(image):
    if image.mode == "L":
        return image
    return Image.fromarray(np.rint(np.asarray(image, np.float32) / 257).astype(np.uint8))


@functools.cache
def _srgb():
    return ImageCms.createProfile("sRGB")


def srgb_bytes() -> bytes:
    profile = ImageCms.ImageCmsProfile(_srgb()).tobytes()
    # LittleCMS puts the time of day into bytes 24 to 35; the first of January 2000 is as good.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]
