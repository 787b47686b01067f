"""Colours of a decoded picture to sRGB, and back to the profile that is embedded."""

import contextlib
import functools
import io
import struct
from collections.abc import Iterator
from typing import Optional, Union

import numpy as np
from PIL import Image, ImageCms

from . import icc

_SPACES = {"GRAY": "grey", "CMYK": "CMYK inks", "Lab": "CIELab"}


def to_srgb(image: Union[Image.Image, np.ndarray], profile: Optional[bytes]) -> np.ndarray:
    """Return float32 sRGB pixels, 0 to 255, shape (H, W, 3).

    Parameters
    ----------
    image : Image or ndarray, shape (H, W, 1) or (H, W, 3), uint16
        In mode L, RGB, CMYK or LAB; or an array of grey or RGB with white at 65535.
    profile : bytes or None
        An ICC profile; a broken one is ignored.
    """
    wide = isinstance(image, np.ndarray)
    return _with_three_channels((_wide_to_srgb if wide else _image_to_srgb)(image, profile))


def _image_to_srgb(image, profile):
    if profile:
        with _tolerant():
            image = _apply(_opened(profile), image)
    if image.mode == "LAB":
        image = _apply(ImageCms.createProfile("LAB"), image)
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    pixels = np.array(image, dtype=np.float32)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _wide_to_srgb(values, profile):
    """Return pixels of 16-bit values; with 8 bits if only LittleCMS can apply the profile."""
    pixels = values.astype(np.float32)
    pixels /= 257
    if not profile:
        return pixels
    # Grey pictures often carry the profile of the colour picture they were made from.
    if icc.space_of(profile) == "RGB":
        pixels = _with_three_channels(pixels)
    shaper = icc.shaper_of(profile)
    if shaper is None:
        with _tolerant():
            levels = np.rint(pixels).astype(np.uint8)
            image = Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0])
            return np.array(_apply(_opened(profile), image), dtype=np.float32)
    elif len(shaper.curves) == pixels.shape[2]:
        shaper.to_srgb(pixels, _srgb_shaper())
    return pixels


def from_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Return pixels of sRGB converted to a profile that `obstacle_to` has nothing against.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), float32
        0 to 255.
    profile : bytes
        An ICC profile of RGB.

    Returns
    -------
    ndarray, shape (H, W, 3), float32
        0 to 255; whole numbers if only LittleCMS can apply the profile.
    """
    shaper = icc.shaper_of(profile)
    if shaper is None:
        image = Image.fromarray(np.rint(pixels).astype(np.uint8))
        return np.array(ImageCms.applyTransform(image, _to(profile)), dtype=np.float32)
    converted = np.array(pixels, dtype=np.float32)
    shaper.from_srgb(converted, _srgb_shaper())
    return converted


def obstacle_to(profile: bytes, bits: int) -> Optional[str]:
    """Return why a picture of sRGB cannot be converted to a profile, or None if it can.

    Parameters
    ----------
    profile : bytes
    bits : int
        Per channel of the converted picture.
    """
    space = icc.space_of(profile)
    if not icc.is_profile(profile):
        return "it is broken"
    if space != "RGB":
        return f"it describes {_SPACES.get(space, 'other colours')}, and the picture is RGB"
    if icc.shaper_of(profile):
        return None
    try:
        _to(profile)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "it is broken, or works in one direction only"
    if bits > 8:
        return "it is of a kind that nst applies with 8 bits per channel only"
    return None


def _to(profile):
    return ImageCms.buildTransform(_srgb(), _opened(profile), "RGB", "RGB")


@contextlib.contextmanager
def _tolerant() -> Iterator[None]:
    # ValueError: names in a broken header that are not ASCII.
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        yield


def _opened(profile):
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _apply(profile, image):
    """Return an image in mode RGB, from the colours of `profile` to sRGB."""
    if image.mode == "L" and profile.profile.xcolor_space == "RGB ":
        image = image.convert("RGB")
    transform = ImageCms.buildTransform(profile, _srgb(), image.mode, "RGB")
    return ImageCms.applyTransform(image, transform)


def _with_three_channels(pixels):
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


@functools.cache
def _srgb():
    return ImageCms.createProfile("sRGB")


@functools.cache
def _srgb_shaper():
    return icc.shaper_of(srgb_bytes())


def srgb_bytes() -> bytes:
    """Return the profile of sRGB that nst embeds, always the same bytes."""
    profile = ImageCms.ImageCmsProfile(_srgb()).tobytes()
    # LittleCMS puts the time of day into bytes 24 to 35; the first of January 2000 is as good.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]
