"""What the benchmarks share: the pictures, and the machine in a line."""

import platform
import sys

from nst_cli import engine, images, samples
from nst_cli.errors import NstError


def run(main):
    """Run a benchmark; what its user can mend is one line."""
    try:
        main()
    except NstError as error:
        sys.exit(f"Error: {error}")


def describe():
    """Return the machine and the versions in a line."""
    half = ", AVX-512 BF16" if "avx512_bf16" in engine.cpu_flags() else ""
    return (
        f"{engine.cpu_model()}{half}, {engine.threads()} threads, "
        f"Python {platform.python_version()}, MXNet {engine.version()}"
    )


def pictures(size, content=samples.CONTENT, style=samples.STYLES[0]):
    """Return a pair as network input, the style squeezed to the content's size."""
    pair = images.read(content), images.read(style)
    shape = images.fit(pair[0].pixels.shape, size)
    return [images.to_input(images.resize(picture.pixels, shape)) for picture in pair]


def add_pictures(parser):
    """Give a parser the options that choose pictures and sizes."""
    parser.add_argument("--content", default=samples.CONTENT, help="by default the sample")
    parser.add_argument("--style", default=samples.STYLES[0], help="by default the sample")
    parser.add_argument("--sizes", default="224,512", help="long edges in pixels")
