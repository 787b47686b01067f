"""Small copies of pictures, embedded in a page."""

import base64
import io
import os
from dataclasses import dataclass
from typing import Optional, Union

import numpy
from PIL import Image

from ... import files, images
from ...errors import ImageError

LONG_EDGE = 512
_QUALITY = 85


@dataclass(frozen=True)
class Thumbnail:
    """A picture embedded in a page.

    Attributes
    ----------
    sha256 : str
        Checksum of the original file.
    uri : str
        ``data:image/jpeg;base64,…``; no edge is longer than `LONG_EDGE`.
    width, height : int
    """

    sha256: str
    uri: str
    width: int
    height: int


class Thumbnails:
    """Makes thumbnails. A file that several runs share is read once."""

    def __init__(self) -> None:
        self._results: dict[str, Union[Thumbnail, ImageError]] = {}
        self._checksums: dict[str, Optional[str]] = {}

    def checksum(self, path: str) -> Optional[str]:
        """Return the SHA-256 of a regular file; None if it cannot be read."""
        file = os.path.realpath(path)
        if file not in self._checksums:
            try:
                self._checksums[file] = files.sha256(file)
            except OSError:
                self._checksums[file] = None
        return self._checksums[file]

    def of(self, path: str) -> Thumbnail:
        """Return the `Thumbnail` of a file.

        Raises
        ------
        ImageError
            It cannot be read as a picture.
        """
        file = os.path.realpath(path)
        if file not in self._results:
            try:
                self._results[file] = _thumbnail(path)
            except ImageError as error:
                self._results[file] = error
        result = self._results[file]
        if isinstance(result, ImageError):
            raise result
        return result


def _thumbnail(path: str) -> Thumbnail:
    # A run may have been allowed any size.
    picture = images.read(path, long_edge=LONG_EDGE, max_pixels=0)
    sides = picture.pixels.shape[:2]
    shrink = min(1, LONG_EDGE / max(sides))
    height, width = (max(1, round(side * shrink)) for side in sides)
    pixels = numpy.rint(images.resize(picture.pixels, (height, width))).astype(numpy.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    return Thumbnail(picture.sha256, uri, width, height)
