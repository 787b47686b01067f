"""PPM, PGM and PBM: formats that Pillow reads completely."""

from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from .header import Header
from .pillow import opened


def header(stream: BinaryIO) -> Header:
    """Return the `Header`."""
    with opened(stream.read(), "PPM") as image:
        width, height = image.size
    return Header((height, width))


def decode(content: bytes, head: Header) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, in mode I for 16 bits, and no alpha."""
    with opened(content, "PPM") as image:
        image.load()
    return image, None
