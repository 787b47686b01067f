"""Files to NCHW arrays and back; alone knows channel means, order and clipping."""

import contextlib
import functools
import io
import json
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from typing import Optional

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from . import files
from .errors import ImageError

# Of ImageNet, in the order red, green, blue; VGG-19 was trained with them subtracted.
MEANS = (123.68, 116.779, 103.939)
# Four poolings halve a side of 16 to the 1 that relu5_1 needs.
MIN_SIDE = 16

# Asked for a longer edge than this, a user had better crop the picture.
_LONGEST_ADVISED = 4096

# A closed list, because Pillow also opens vector formats, some by starting another program.
_READ = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
_WRITTEN = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
ENDINGS = tuple(_WRITTEN)
_SAVE_OPTIONS = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    # Uncompressed, because libtiff's compressing writer cannot hold the Exif folder in every
    # Pillow.
    "TIFF": {},
    # Lossy like JPEG, with halved chroma (WebP has no other). Alpha is lossless, and `exact`
    # keeps the colours under it.
    "WEBP": {"quality": 95, "alpha_quality": 100, "method": 4, "exact": True},
}

_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that exchange height and width.
_TURNED = (5, 6, 7, 8)
# The modes whose colours a profile may describe; any other becomes RGB.
_COLOUR_MODES = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}

_METADATA_KEY = "nst"
_EXIF_FOLDER, _EXIF_VERSION, _USER_COMMENT = 0x8769, 0x9000, 0x9286
_ASCII = b"ASCII\0\0\0"
# A JPEG segment counts its length, itself included, in 16 bits.
_JPEG_EXIF_LIMIT = 0xFFFF - 2


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), float32
        sRGB, 0 to 255; what is transparent lies over white.
    alpha : ndarray, shape (H, W), float32, or None
        0 (transparent) to 255; None if the whole picture is opaque.
    path : str
    sha256 : str
        Of the file's content, 64 hex digits.
    """

    pixels: np.ndarray
    alpha: Optional[np.ndarray]
    path: str
    sha256: str


def read(path):
    """Read a picture: upright, in sRGB, its first frame if it has several.

    The Exif orientation is applied, a colour profile is converted to sRGB (a broken one is taken
    for sRGB), and the content under an alpha channel is composited over white. 16-bit grey keeps
    its precision; 16-bit colour is read with 8 bits.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        The file is missing, unreadable, no picture, truncated, too large to be trusted, or its
        pixels have no known range.
    """
    path = os.fspath(path)
    checksum = _checksum(path)
    with _opened(path) as image:
        image.load()
        profile, is_16_bit = image.info.get("icc_profile"), _is_16_bit(image)
        image = _upright(image)
    if is_16_bit:
        colours, alpha = _split_16_bit(image)
    elif image.mode in ("I", "F"):
        raise ImageError(
            f"Cannot read {path}: its pixels are 32-bit numbers, and nothing tells which of them "
            "is white; save it with 8 or 16 bits per channel."
        )
    else:
        colours, alpha = _split(image)
    pixels = _to_srgb(colours, profile)
    if alpha is not None:
        pixels = 255 + (pixels - 255) * (alpha / 255)[..., None]
    return Picture(pixels, alpha, path, checksum)


def size_of(path):
    """Return height and width of an upright picture, from its header.

    Raises
    ------
    ImageError
        As `read`, for what the header tells.
    """
    path = os.fspath(path)
    _checksum(path)
    with _opened(path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
        except Exception:  # noqa: BLE001
            turned = False
    return (width, height) if turned else (height, width)


def resize(array, size):
    """Resize with a Lanczos filter in float, widened when shrinking so that nothing aliases.

    Parameters
    ----------
    array : ndarray, shape (H, W) or (H, W, C), float32
        0 to 255.
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    ndarray, shape `size` or (*size, C), float32
        A new array, clipped to 0 to 255; a copy of `array` if it has this size already.
    """
    if array.shape[:2] == tuple(size):
        return np.array(array, dtype=np.float32)
    if array.ndim == 3:
        channels = [resize(array[..., c], size) for c in range(array.shape[2])]
        return np.stack(channels, axis=-1)
    # Lanczos overshoots at edges.
    return np.clip(_resampled(array, size), 0, 255)


def resize_input(image, size):
    """Resize a network input as `resize` does pixels, but clip nothing.

    Parameters
    ----------
    image : ndarray, shape (1, 3, H, W)
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    ndarray, shape (1, 3, *size), float32
    """
    return np.stack([_resampled(plane, size) for plane in image[0]])[None]


def fit(shape, long_edge, name="the picture"):
    """Return the size at which the long edge is `long_edge`, smaller or larger than now.

    Parameters
    ----------
    shape : tuple
        Height and width; further entries are ignored.
    long_edge : int
        Pixels.
    name : str, optional
        What an error calls the picture, such as its path.

    Returns
    -------
    (int, int)
        Height and width, the aspect kept to within half a pixel of the short side.

    Raises
    ------
    ImageError
        A side would have fewer than `MIN_SIDE` pixels.
    """
    sides = shape[:2]
    longest, shortest = max(sides), min(sides)
    # In integers, so that halves are always rounded up.
    height, width = ((2 * side * long_edge + longest) // (2 * longest) for side in sides)
    if min(height, width) >= MIN_SIDE:
        return height, width
    # The least edge for which the line above gives the short side MIN_SIDE pixels.
    needed = -(-(2 * MIN_SIDE - 1) * longest // (2 * shortest))
    if needed > _LONGEST_ADVISED:
        advice = "it is too elongated, crop it first"
    else:
        advice = f"use --size {needed} or more"
    raise ImageError(
        f"Cannot work on {name}: its {sides[1]} x {sides[0]} pixels become {width} x {height} at "
        f"size {long_edge}, and each side needs {MIN_SIDE}; {advice}."
    )


def to_input(pixels, scale=255):
    """Turn pixels into what the network eats.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3)
        RGB, 0 to 255.
    scale : float, optional
        What white becomes before the means are subtracted; the authors' code has 256.

    Returns
    -------
    ndarray, shape (1, 3, H, W), float32
    """
    # A cast first: NumPy 1 would multiply uint8 in float16.
    image = np.asarray(pixels, np.float32) * np.float32(scale / 255) - np.float32(MEANS)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def to_pixels(image, rounding="round"):
    """Turn a network input back into pixels.

    Parameters
    ----------
    image : ndarray, shape (1, 3, H, W)
        RGB, means subtracted.
    rounding : {"round", "truncate"}, optional
        ``truncate`` is what the authors' code does.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    to_integer = {"round": np.rint, "truncate": np.trunc}[rounding]
    pixels = image[0].transpose(1, 2, 0) + np.float32(MEANS)
    return to_integer(np.clip(pixels, 0, 255)).astype(np.uint8)


def write(path, pixels, alpha=None, metadata=None):
    """Write a picture in the format that its name's ending tells, sRGB embedded.

    The file is written whole or not at all, and the same arguments give the same bytes.

    Parameters
    ----------
    path : path-like
    pixels : ndarray, shape (H, W, 3), uint8
        sRGB.
    alpha : ndarray, shape (H, W), optional
        0 to 255; left out where the format has no place for it (see `holds_alpha`).
    metadata : dict, optional
        What JSON can hold. PNG keeps it as text under the keyword ``nst``; the others as an Exif
        user comment, ``{"nst": metadata}``.

    Raises
    ------
    ImageError
        The ending is unknown, the metadata are more than a JPEG can hold, or writing failed.
    """
    path = os.fspath(path)
    kind = _format(path)
    options = dict(_SAVE_OPTIONS[kind], icc_profile=_srgb_bytes())
    if metadata is not None:
        options.update(_metadata_options(path, kind, metadata))
    if alpha is not None and holds_alpha(path):
        opacity = np.rint(np.clip(alpha, 0, 255)).astype(np.uint8)
        pixels = np.dstack([pixels, opacity])
    try:
        with files.replacing(path) as temporary:
            Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, kind, **options)
    # ValueError is how an encoder refuses a size beyond its format.
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot write {path}: {_reason(error)}.") from error


def read_metadata(path):
    """Return the metadata that `write` embedded.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict or None
        None if the picture carries none of ours.

    Raises
    ------
    ImageError
        The file cannot be read as a picture.
    """
    path = os.fspath(path)
    _checksum(path)
    with _opened(path) as image:
        if image.format == "PNG":
            found = {_METADATA_KEY: _from_json(image.text.get(_METADATA_KEY))}
        else:
            comment = image.getexif().get_ifd(_EXIF_FOLDER).get(_USER_COMMENT)
            is_ascii = isinstance(comment, bytes) and comment.startswith(_ASCII)
            found = _from_json(comment[len(_ASCII) :] if is_ascii else None)
    metadata = found.get(_METADATA_KEY) if isinstance(found, dict) else None
    return metadata if isinstance(metadata, dict) else None


def holds_alpha(path):
    """Tell whether the format that `path` names keeps an alpha channel; JPEG does not.

    Raises
    ------
    ImageError
        The ending is unknown.
    """
    return _format(path) != "JPEG"


def check_ending(path):
    """Find out, before the long work, whether `write` knows the format that `path` ends in.

    Raises
    ------
    ImageError
    """
    _format(os.fspath(path))


def _resampled(plane, size):
    height, width = size
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _checksum(path):
    """Return the SHA-256 of a file that must be there, a regular one, and readable."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"Cannot read {path}: it is a folder, not a picture.")
        # A pipe can be read but once, and a device may never end.
        if not stat.S_ISREG(mode):
            raise ImageError(f"Cannot read {path}: it is no regular file; save the picture first.")
        return files.sha256(path)
    except OSError as error:
        raise ImageError(f"Cannot read {path}: {_reason(error)}.") from error


@contextlib.contextmanager
def _opened(path):
    """Yield the picture that Pillow opened; what goes wrong with it inside is an `ImageError`."""
    Image.init()
    kinds = [kind for kind in _READ if kind in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=kinds) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = str(error).split(" exceeds")[0]
        raise ImageError(
            f"Cannot read {path}: {size} exceeds the limit of {Image.MAX_IMAGE_PIXELS} pixels; "
            "make the picture smaller first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"Cannot read {path}: it is empty, badly broken or not a picture of a kind known "
            f"here ({', '.join(kinds)})."
        ) from error
    # Pillow's decoders raise whatever the broken file made them stumble over.
    except Exception as error:
        raise ImageError(
            f"Cannot read {path}: it is truncated or broken ({_reason(error)})."
        ) from error


def _upright(image):
    try:
        transposition = _TRANSPOSITIONS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # noqa: BLE001
        # Unreadable Exif data are no reason to refuse the picture.
        return image
    return image if transposition is None else image.transpose(transposition)


def _is_16_bit(image):
    # PNG (in older Pillow) and PPM bring 16-bit grey in a 32-bit mode.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _split_16_bit(image):
    """Return a 16-bit grey picture in mode I;16, and its alpha."""
    values = np.asarray(image).astype(np.uint16)
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else np.where(values == transparent, 0, 255)
    return Image.fromarray(values), _opacity(alpha)


def _split(image):
    """Return a picture of 8 bits per channel without its alpha, and the alpha."""
    mode, alpha = _COLOUR_MODES.get(image.mode, "RGB"), None
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
    return image.convert(mode), _opacity(alpha)


def _opacity(alpha):
    return None if alpha is None or alpha.min() == 255 else alpha.astype(np.float32)


def _to_srgb(image, profile):
    """Return float32 sRGB pixels of an image in mode L, I;16, RGB, CMYK or LAB."""
    if profile:
        # ValueError: names in a broken header that are not ASCII.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            image = _apply(ImageCms.ImageCmsProfile(io.BytesIO(profile)), image)
    if image.mode == "LAB":
        image = _apply(ImageCms.createProfile("LAB"), image)
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    pixels = np.asarray(image, dtype=np.float32)
    if image.mode == "I;16":
        pixels = pixels / 257
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _apply(profile, image):
    """Return an image in mode RGB, from the colours of `profile` to sRGB."""
    # Grey pictures often carry the profile of the colour picture they were made from.
    if image.mode == "L" and profile.profile.xcolor_space == "RGB ":
        image = image.convert("RGB")
    transform = ImageCms.buildTransform(profile, _srgb(), image.mode, "RGB")
    return ImageCms.applyTransform(image, transform)


@functools.cache
def _srgb():
    return ImageCms.createProfile("sRGB")


def _srgb_bytes():
    profile = ImageCms.ImageCmsProfile(_srgb()).tobytes()
    # LittleCMS puts the time of day into bytes 24 to 35; the first of January 2000 is as good.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def _format(path):
    ending = os.path.splitext(path)[1]
    if ending.lower() not in _WRITTEN:
        found = f"the ending {ending!r} is unknown" if ending else "the name has no ending"
        raise ImageError(f"Cannot write {os.fspath(path)}: {found}; use {', '.join(ENDINGS)}.")
    return _WRITTEN[ending.lower()]


def _metadata_options(path, kind, metadata):
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text(_METADATA_KEY, json.dumps(metadata))
        return {"pnginfo": text}
    exif = _exif(json.dumps({_METADATA_KEY: metadata}))
    if kind == "JPEG" and len(exif) > _JPEG_EXIF_LIMIT:
        raise ImageError(
            f"Cannot write {path}: the metadata take {len(exif)} bytes and a JPEG holds "
            f"{_JPEG_EXIF_LIMIT}; choose a name that ends in .png, .tif or .webp."
        )
    return {"exif": exif}


def _exif(comment):
    """Return an Exif block that holds an ASCII user comment and nothing else.

    Made by hand because Pillow would call the comment BYTE; the standard says UNDEFINED, and
    readers based on exiv2 show it only then.
    """
    comment = _ASCII + comment.encode("ascii")
    # Offsets count from the "II": 8 bytes of header, then 18 and 30 of the two folders.
    header = b"II*\0" + struct.pack("<L", 8)
    root = struct.pack("<HHHLLL", 1, _EXIF_FOLDER, 4, 1, 26, 0)
    version = struct.pack("<HHL4s", _EXIF_VERSION, 7, 4, b"0232")
    pointer = struct.pack("<HHLL", _USER_COMMENT, 7, len(comment), 56)
    folder = struct.pack("<H", 2) + version + pointer + struct.pack("<L", 0)
    return b"Exif\0\0" + header + root + folder + comment


def _from_json(text):
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


def _reason(error):
    """Return what an exception says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")
