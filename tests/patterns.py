"""Pictures, colour profiles and a check that the tests of pictures share."""

import struct

import numpy as np
import pytest
from PIL import Image

from nst_cli import images
from nst_cli.errors import ImageError

WIDTH, HEIGHT = 64, 32
RAMP = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
GREY = np.rint(RAMP * 255).astype("u1")
RGB = np.dstack([GREY, GREY[:, ::-1], GREY])
GREY_ROWS = [row.tobytes() for row in GREY]

# XYZ at D50 to linear sRGB, Bradford-adapted (Lindbloom's tables).
TO_LINEAR_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def noise(height=24, width=32, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height=48, width=64):
    """A picture that lossy formats keep almost as it is."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (40 + 2 * x, 60 + 3 * y, 220 - x - y)
    return np.stack(planes, axis=-1).astype(np.uint8)


def icc_profile(space, connection, tags):
    """An ICC version 2 profile from its tags, a dict of 4-byte names to data."""
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sLL", name, offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">L4sL4s4s4s", offset + len(body), b"", 0x02100000, b"mntr", space, connection
    )
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3l", *(round(65536 * value) for value in values))


def gamma_curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">LH", 1, round(256 * gamma))


def adobe_rgb(gamma=563 / 256):
    """Adobe RGB (1998): its primaries adapted to D50, and its gamma or the one given."""
    return icc_profile(
        b"RGB ",
        b"XYZ ",
        {
            b"wtpt": xyz(0.9642, 1, 0.8249),
            b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
            b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
            b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
            **{name: gamma_curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")},
        },
    )


def linear_grey():
    return icc_profile(
        b"GRAY", b"XYZ ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": gamma_curve(1.0)}
    )


def odd_cmyk():
    """A press that prints cyan as a red, L*a*b* = (50, 60, 0), and neither magenta nor yellow."""
    identity = bytes(range(256))
    # With a true black; otherwise the black of the press would be scaled to that of the screen.
    paper, red, black = bytes([255, 128, 128]), bytes([128, 188, 128]), bytes([0, 128, 128])
    grid = 4 * (paper + black) + 4 * (red + black)
    matrix = struct.pack(">9l", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * identity + grid + 3 * identity
    return icc_profile(b"CMYK", b"Lab ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"A2B0": table})


def srgb_of(linear):
    """The sRGB transfer function (IEC 61966-2-1), 0 to 1 to 0 to 255."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def srgb_of_lab(lightness, a, b):
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    return srgb_of(TO_LINEAR_SRGB @ (ratio * [0.9642, 1, 0.8249]))


def refusal(path, function=images.read, **options):
    """Return the one-line error with which `read` refuses a file."""
    with pytest.raises(ImageError) as error:
        function(path, **options)
    line = str(error.value)
    assert "\n" not in line and line.startswith("Cannot read") and line.endswith(".")
    return line


def levels(bits):
    """A ramp of greys from black to white, shape (H, W, 1)."""
    return np.rint(RAMP * (2**bits - 1)).astype(int)[..., None]


def photograph():
    """Texture over gradients: all kinds of blocks."""
    texture = noise(96, 144).astype(int) // 6
    return Image.fromarray(np.clip(smooth(96, 144) * 0.7 + texture, 0, 255).astype("u1"))
