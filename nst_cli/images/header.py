"""The header of a picture: size, orientation and colours, read without Pillow's shortcuts."""

import io
import re
from dataclasses import dataclass
from typing import Any, BinaryIO, Optional, Union

from . import ifd

# As an attribute or an element.
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([0-9])")


@dataclass(frozen=True)
class Header:
    """The properties of a picture that are known before it is decoded.

    Parameters
    ----------
    size : (int, int)
        Height and width as stored.
    orientation : int
        As in Exif, 1 to 8.
    profile : bytes or None
        An ICC profile.
    colours : colorimetry.Colours or None
        Primaries and transfer function of a file without a profile.
    exif : bytes or None
        Exif data, of formats that hold them in one piece.
    details : object
        Further values for the format's own decoder.
    """

    size: tuple[int, int]
    orientation: int = 1
    profile: Optional[bytes] = None
    colours: Any = None
    exif: Optional[bytes] = None
    details: Any = None


def orientation_of(exif: Optional[bytes], xmp: Optional[bytes] = None) -> int:
    """Return the orientation that Exif data give, else XMP's; 1 to 8.

    Parameters
    ----------
    exif, xmp : bytes or None
        Broken data count as missing.
    """
    try:
        number = ifd.first_folder(io.BytesIO(_without_name(exif or b""))).number(ifd.ORIENTATION)
    except ifd.Malformed:
        number = None
    return orientation_in(number, xmp)


def orientation_in(number: object, xmp: Optional[bytes]) -> int:
    """Return an orientation, 1 to 8: `number` of Exif if there is one, else XMP's."""
    match = _XMP_ORIENTATION.search(xmp or b"")
    if number is None and match:
        number = int(match[1])
    return number if isinstance(number, int) and number in range(1, 9) else 1


def comment_of(source: Union[bytes, BinaryIO, None]) -> Optional[bytes]:
    """Return the user comment, with the eight bytes that name its encoding, or None.

    Parameters
    ----------
    source : bytes, binary file of a TIFF, or None
        Exif data.
    """
    if isinstance(source, (bytes, type(None))):
        source = io.BytesIO(_without_name(source or b""))
    try:
        root = ifd.first_folder(source)
        pointer = root.number(ifd.EXIF_FOLDER)
        if pointer is None:
            return None
        folder = ifd.folder_at(source, pointer, root.order, root.is_big)
    except ifd.Malformed:
        return None
    return folder.data(ifd.USER_COMMENT)


def _without_name(exif):
    # JPEG's segment has a name, which some programs write in other formats too.
    return exif[6:] if exif.startswith(b"Exif\0\0") else exif
