"""Recognises a file by its first bytes: formats that nst reads, and advice for others."""

import re
from typing import Optional

from PIL import Image

# A closed list, because Pillow also opens vector formats, some by starting another program.
READ = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")

_EXPORT = "it is {}, which nst does not read; export it as PNG, TIFF or JPEG"
_DRAWN = "it is {}, drawn and not a picture of pixels; export it as PNG"
_HEIC = "it is a HEIC picture, which nst does not read; export it as JPEG or PNG"
_RAW = "it is a camera's raw file; develop it first, to TIFF, PNG or JPEG"
_VIDEO = "it is a video; save one of its frames as PNG"

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    # The length of the second header, because a text may begin with BM.
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PPM": rb"P[1-6][\s#]",
    "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    # The last two are mistakes of writers, and are read like the others.
    "TIFF": rb"II[*+]\0|MM\0[*+]|MM\*\0|II\0\*",
}
_OBSTACLES = {
    rb"FUJIFILMCCD-RAW|IIR[OS]\x08\0|MMOR\0\x08|IIU\0|\0MRM|FOVb|II.{4}HEAPCCDR": _RAW,
    rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n": _EXPORT.format("a JPEG XL picture"),
    rb"8BPS": _EXPORT.format("a Photoshop document"),
    rb"gimp xcf": _EXPORT.format("a GIMP document"),
    rb"\s*%PDF": _DRAWN.format("a PDF document"),
    rb"%!|\xc5\xd0\xd3\xc6": _DRAWN.format("a PostScript document"),
    rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF": _DRAWN.format("a metafile"),
    rb"....(?:moov|mdat|wide|skip|free|pnot)|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|OggS": _VIDEO,
    rb"\0\0\x01[\xba\xb3]": _VIDEO,
    rb"v/1\x01": _EXPORT.format("an OpenEXR picture"),
    rb"#\?R(?:ADIANCE|GBE)": _EXPORT.format("a Radiance HDR picture"),
    rb"\0\0[\x01\x02]\0[^\0]\0|icns": _EXPORT.format("an icon or a cursor"),
    rb"DDS ": _EXPORT.format("a DDS texture"),
    rb"qoif": _EXPORT.format("a QOI picture"),
    rb"P7\n": _EXPORT.format("a PAM picture"),
    rb"P[Ff]\s": _EXPORT.format("a PFM picture"),
    rb"II\xbc": _EXPORT.format("a JPEG XR picture"),
    rb"BPG\xfb": _EXPORT.format("a BPG picture"),
    rb"\x8a[MJ]NG|\x8bJNG": _EXPORT.format("an MNG or JNG picture"),
    rb"AT&TFORM": _EXPORT.format("a DjVu document"),
    rb"SIMPLE  =": _EXPORT.format("a FITS file"),
    rb".{128}DICM": _EXPORT.format("a DICOM file"),
    rb"/\* XPM": _EXPORT.format("an XPM picture"),
    rb"\x59\xa6\x6a\x95": _EXPORT.format("a Sun raster picture"),
    rb"\x01\xda[\0\x01][\x01\x02]": _EXPORT.format("an SGI picture"),
    rb"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]": _EXPORT.format("a PCX picture"),
    rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ": "it is an archive; unpack it first",
    rb"\0\x05\x16[\0\x07]": "it holds what macOS keeps beside a picture, and not the picture",
    rb"version https://git-lfs": "Git LFS has yet to download the picture that it stands for",
    rb"\0+\Z": "it is empty but for zeros; it was not copied or downloaded whole",
}
_TEXTS = {
    rb"(?:<\?xml|<!--|<!doctype svg).*<svg|<svg": _DRAWN.format("an SVG drawing"),
    rb"(?:<\?xml|<!--).*<!?(?:doctype )?html|<!doctype html|<html|<head": "it is a web page",
}


def kind_of(head: bytes) -> tuple[Optional[str], Optional[str]]:
    """Recognise a file.

    Parameters
    ----------
    head : bytes
        The first bytes of the file; some thousand are enough.

    Returns
    -------
    kind : str or None
        One of `READ`.
    obstacle : str or None
        If the kind is None, why the file cannot be read; completes the line "Cannot read FILE: …".
    """
    if head[4:8] == b"ftyp":
        kind, obstacle = _of_brands(head)
    else:
        kind, obstacle = _first(_SIGNATURES, head), None
    if kind in ("AVIF", "WEBP", "JPEG2000") and not _has_reader(kind):
        return None, f"the Pillow installed here reads no {kind}; update it, or export to PNG"
    if kind is None and obstacle is None:
        obstacle = _obstacle(head)
    return kind, obstacle


def _of_brands(head):
    """Recognise a file of the MPEG family by the brands in its first box."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF", None
    if b"crx " in brands:
        return None, _RAW
    if any(brand.startswith((b"hei", b"hev", b"mif1", b"msf1")) for brand in brands):
        return None, _HEIC
    return None, _VIDEO


def _obstacle(head):
    if not head:
        return "it is empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kinds = ", ".join(kind for kind in READ if _has_reader(kind))
    unknown = f"it is badly broken or not a picture of a kind that nst reads ({kinds})"
    return _first_value(_OBSTACLES, head) or _first_value(_TEXTS, text) or unknown


def _has_reader(kind):
    Image.init()
    return kind in Image.OPEN


def _first(patterns, head):
    matches = (key for key, pattern in patterns.items() if re.match(pattern, head, re.DOTALL))
    return next(matches, None)


def _first_value(patterns, head):
    matches = (text for pattern, text in patterns.items() if re.match(pattern, head, re.DOTALL))
    return next(matches, None)
