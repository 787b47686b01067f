"""Pictures with nst's marks: the record in PNG text or Exif, and what reads it back."""

import json
import zlib
from pathlib import Path

import numpy as np

from . import harness, pictures

with harness.instrumented("nst_cli"):
    import encoders

    from nst_cli import images
    from nst_cli.runs import sidecar, styles

    from . import records
from PIL import Image

_LONGEST = 4096
WORDS = (*records.WORDS, b"tEXtnst\0", b"zTXtnst\0\0", b"iTXtnst\0", b"ASCII\0\0\0", b"UNICODE\0",
         b"Exif\0\0", b"\x69\x87", b"\x86\x92", b'{"nst": {')  # fmt: skip


def try_one(data):
    """Read the record of a picture, and decide whether nst made it."""
    path = harness.file_of(data)
    styles.is_by_nst(path)
    sidecar.is_picture(path)
    record = sidecar.read_carried(path)
    if record is not None:
        record.config()
    images.read_metadata(path)


def seeds():
    """Return a picture with a record in each way that nst has, and in the other texts of PNG."""
    for name in ("content.png", "style.png", "mask.png"):
        Image.new("RGB", (4, 4)).save(name)
    result = []
    for document in records.documents("none"):
        for ending in (".png", ".jpg", ".tif", ".webp"):
            path = Path(f"seed{ending}")
            images.write(str(path), np.zeros((4, 4, 3), np.uint8), None, document)
            result.append(path.read_bytes())
        text = json.dumps(document).encode()
        result += [
            encoders.png([bytes(4)], 8, 0, encoders.chunk(name, b"nst\0" + start + text))
            for name, start in ((b"tEXt", b""), (b"iTXt", b"\0\0\0\0"))
        ]
        packed = zlib.compress(text)
        result.append(encoders.png([bytes(4)], 8, 0, encoders.chunk(b"zTXt", b"nst\0\0" + packed)))
    return result


if __name__ == "__main__":
    harness.main(globals(), _LONGEST, pictures.repaired)
