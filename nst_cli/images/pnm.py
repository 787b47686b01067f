"""PPM, PGM and PBM: formats that Pillow reads completely."""

from .header import Header
from .pillow import opened


def header(stream):
    """Return the `Header`."""
    with opened(stream.read(), "PPM") as image:
        width, height = image.size
    return Header((height, width))


def decode(content, head):
    """Return the image, in mode I for 16 bits, and no alpha."""
    with opened(content, "PPM") as image:
        image.load()
    return image, None
