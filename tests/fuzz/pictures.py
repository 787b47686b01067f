"""Pictures and masks of every format that nst reads."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from . import harness

with harness.instrumented("nst_cli", "PIL"):
    import encoders
    import patterns

    from nst_cli import images

# Small, so that an input takes milliseconds.
_MOST_PIXELS = 1 << 16
_LONGEST = 4096

WORDS = (
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP",
    b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"Raw profile type exif\0",
    b"XML:com.adobe.xmp\0", b"tiff:Orientation", b"Exif\0\0", b"II*\0", b"MM\0*", b"II+\0",
    b"ICC_PROFILE\0", b"Adobe", b"JFIF\0", b"\xff\xd8", b"\xff\xd9", b"\xff\xc0", b"\xff\xc2",
    b"\xff\xda", b"\xff\xdd", b"\xff\xe1", b"\xff\xd0", b"VP8 ", b"VP8L", b"VP8X", b"ALPH",
    b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"ICCP", b"GIF89a", b"!\xf9\4", b"!\xff\x0b", b"\0;",
    b"jP  ", b"jp2h", b"ihdr", b"colr", b"pclr", b"cdef", b"cmap", b"jp2c", b"\xff\x4f\xff\x51",
    b"ftyp", b"avif", b"meta", b"pitm", b"iloc", b"iprp", b"ipco", b"ipma", b"ispe", b"clap",
    b"irot", b"imir", b"nclx", b"prof", b"mdat", b"acsp", b"rTRC", b"para", b"curv", b"XYZ ",
    struct.pack("<HHL", 256, 4, 1), struct.pack("<HHL", 257, 4, 1), struct.pack("<HHL", 258, 3, 1),
    struct.pack("<HHL", 259, 3, 1), struct.pack("<HHL", 262, 3, 1), struct.pack("<HHL", 273, 4, 1),
    struct.pack("<HHL", 277, 3, 1), struct.pack("<HHL", 278, 4, 1), struct.pack("<HHL", 279, 4, 1),
    struct.pack("<HHL", 284, 3, 1), struct.pack("<HHL", 317, 3, 1), struct.pack("<HHL", 322, 4, 1),
    struct.pack("<HHL", 330, 4, 1), struct.pack("<HHL", 338, 3, 1), struct.pack("<HHL", 339, 3, 1),
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\1\0", b"\xff\xff",
)  # fmt: skip


def try_one(data):
    """Read a picture and its size; read it as a mask of itself."""
    path = harness.file_of(data)
    images.is_picture(path)
    picture = images.read(path, max_pixels=_MOST_PIXELS, long_edge=8)
    if not np.isfinite(picture.pixels).all():
        raise harness.Find("its pixels are not finite")
    if images.size_of(path) != picture.own_size:
        raise harness.Find("it has two sizes")
    if len(data) % 4 == 0:
        images.read_mask(path, path, max_pixels=_MOST_PIXELS)


def seeds():
    """Return a small file of each kind."""
    return [*_pngs(), *_tiffs(), *_jpegs(), *_others(), *_boxed()]


def repaired(data, generator):
    """Return a PNG with the right checksums, and sometimes one of its packed chunks changed."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    result, at = data[:8], 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">L4s", data, at)
        length = min(length, len(data) - at - 12)
        body = data[at + 8 : at + 8 + length]
        if name in (b"IDAT", b"iCCP", b"zTXt") and generator.random() < 0.2:
            body = _repacked(body, 0 if name == b"IDAT" else body.find(b"\0") + 2, generator)
        result += encoders.chunk(name, body)
        at += 12 + length
    return result


def _repacked(body, start, generator):
    try:
        raw = bytearray(zlib.decompress(body[start:]))
    except zlib.error:
        return body
    for _ in range(generator.randrange(1, 4)):
        if raw:
            raw[generator.randrange(len(raw))] = generator.randrange(256)
    return body[:start] + zlib.compress(bytes(raw))


_EXIF = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"


def _pngs():
    rows = [bytes(range(n, n + 8)) for n in range(6)]
    wide = [bytes(range(n, n + 48)) for n in range(6)]
    profile = b"p\0\0" + zlib.compress(patterns.adobe_rgb())
    chunk, exif = encoders.chunk, b"\nexif\n      26\n" + _EXIF.hex().encode()
    yield encoders.png(rows, 8, 0)
    yield encoders.png(rows, 8, 0, chunk(b"gAMA", struct.pack(">L", 100000)))
    yield encoders.png(
        rows, 8, 0, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(exif))
    )
    yield encoders.png(rows, 8, 3, chunk(b"PLTE", bytes(range(48))), chunk(b"tRNS", b"\0\x80"))
    yield encoders.png(rows, 2, 0, chunk(b"tRNS", b"\0\1"))
    yield encoders.png(wide, 16, 2, chunk(b"iCCP", profile), chunk(b"tRNS", bytes(6)))
    yield encoders.png(wide, 16, 6, chunk(b"cICP", b"\x09\1\0\1"), chunk(b"eXIf", _EXIF))
    yield encoders.png(wide, 16, 4, chunk(b"cHRM", struct.pack(">8L", *range(31270, 31278))))
    yield encoders.png(
        wide, 8, 6, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation='6'")
    )


def _tiffs():
    values = np.arange(8 * 6 * 3).reshape(6, 8, 3)
    yield encoders.tiff(values)
    yield encoders.tiff(values * 300, bits=16, order=">", planar=True)
    yield encoders.tiff(values * 20, bits=12, is_big=True)
    yield encoders.tiff(values[..., :1], photometric=1)
    yield encoders.tiff(values[..., :2], photometric=1, tags=[(338, 3, [1])])
    yield encoders.tiff(values[..., :1] % 16, bits=4, photometric=0, tags=[(274, 3, [6])])
    yield encoders.tiff(values, tags=[(330, 4, [8, 8]), (34675, 7, patterns.linear_grey())])
    image = Image.fromarray(values.astype(np.uint8))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield encoders.saved(image, "TIFF", compression=compression)
    yield encoders.saved(image.convert("1"), "TIFF", compression="group4")
    yield encoders.saved(image.convert("CMYK"), "TIFF")
    yield encoders.saved(image.convert("P"), "TIFF")
    yield encoders.saved(Image.fromarray(values[..., 0].astype(np.uint16)), "TIFF",
                         compression="tiff_lzw")  # fmt: skip


def _jpegs():
    image = Image.fromarray(patterns.smooth(12, 20))
    yield encoders.saved(image, "JPEG", quality=30, exif=b"Exif\0\0" + _EXIF)
    yield encoders.saved(image, "JPEG", quality=30, progressive=True, subsampling=2)
    yield encoders.saved(image, "JPEG", quality=30, restart_marker_blocks=1)
    yield encoders.saved(image.convert("L"), "JPEG", icc_profile=patterns.linear_grey())
    yield encoders.saved(image.convert("CMYK"), "JPEG", quality=20)


def _others():
    image = Image.fromarray(patterns.smooth(6, 8))
    grey = image.convert("L")
    yield encoders.saved(image, "WEBP", lossless=True, exif=_EXIF)
    yield encoders.saved(
        image.convert("RGBA"), "WEBP", quality=50, icc_profile=patterns.adobe_rgb()
    )
    yield encoders.saved(image, "WEBP", save_all=True, append_images=[grey.convert("RGB")])
    yield encoders.saved(image, "GIF")
    yield encoders.saved(grey, "GIF", transparency=3, comment=b"c")
    for mode in ("RGB", "L", "1"):
        yield encoders.saved(image.convert(mode), "BMP")
        yield encoders.saved(image.convert(mode), "PPM")
    yield b"P2 2 2 255 0 100 200 255 "
    yield b"P3 1 2 65535 0 100 200 255 7 8 "
    yield b"P1 2 2 0 1 1 0 "
    yield b"P5 2 2 65535 " + bytes(8)
    head = struct.pack("<LllHHLLllLL", 40, 4, 2, 1, 8, 1, 0, 0, 0, 2, 0) + bytes(8)
    yield b"BM" + struct.pack("<LLL", 0, 0, 62) + head + b"\4\1\0\0\4\0\0\1"
    masks = struct.pack("<4L", 0x7C00, 0x3E0, 0x1F, 0x8000)
    head = struct.pack("<LllHHLLllLL", 124, 2, 2, 1, 16, 3, 0, 0, 0, 0, 0) + masks
    yield b"BM" + struct.pack("<LLL", 0, 0, 138) + head.ljust(124, b"\0") + b"\0\x80\x7f\xff" * 2


def _boxed():
    image = Image.fromarray(patterns.smooth(12, 16))
    stream = io.BytesIO()
    image.save(stream, "JPEG2000", no_jp2=True)
    yield stream.getvalue()
    content = encoders.saved(image, "JPEG2000")
    yield content
    yield encoders.with_jp2_boxes(content, encoders.box(b"colr", b"\2\0\0" + patterns.adobe_rgb()))
    yield encoders.saved(image.convert("LA"), "JPEG2000")
    try:
        content = encoders.saved(image, "AVIF", quality=30)
    except (KeyError, OSError):
        # This Pillow has no AVIF.
        return
    yield content
    yield encoders.with_avif_property(content, b"clap", struct.pack(">8L", 8, 1, 8, 1, 0, 1, 0, 1))
    yield encoders.with_avif_property(content, b"irot", b"\1")


if __name__ == "__main__":
    harness.main(globals(), _LONGEST, repaired)
