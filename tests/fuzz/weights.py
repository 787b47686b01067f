"""Files of weights, MXNet's ``.params``."""

import struct

from . import harness

with harness.instrumented("nst_cli"):
    from nst_cli import weights
    from nst_cli.weights import params

_LONGEST = 512

WORDS = (
    struct.pack("<Q", 0x112), struct.pack("<L", 0xF993FAC8), struct.pack("<L", 0xF993FAC9),
    struct.pack("<L", 0xF993FACA), b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff" * 8,
    b"\0\0\0\0\0\0\0\x80", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"arg:", b"conv1_1_weight",
    b"conv1_1_bias",
)  # fmt: skip


def try_one(data):
    """Read all arrays, load those of VGG-19, and describe the file."""
    path = harness.file_of(data)
    for read in (params.read, params.load, weights.check):
        try:
            read(path)
        except weights.WeightsError as error:
            last = error
        else:
            last = None
    if last:
        raise last


def seeds():
    """Return a file of each version of the format."""
    return [_file(form, names) for form in ("old", 1, 2, 3) for names in (["a"], ["arg:b", "c"])]


def _file(form, names):
    arrays = b"".join(_array(form, kind) for kind in range(len(names)))
    texts = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    count = struct.pack("<Q", len(names))
    return struct.pack("<QQ", 0x112, 0) + count + arrays + count + texts


def _array(form, kind):
    shape, size = (2, 3), (4, 8)[kind]
    head = {
        "old": struct.pack("<L2L", 2, *shape),
        1: struct.pack("<LL2q", 0xF993FAC8, 2, *shape),
        2: struct.pack("<Lii2q", 0xF993FAC9, 0, 2, *shape),
        3: struct.pack("<Lii2q", 0xF993FACA, 0, 2, *shape),
    }[form]
    return head + struct.pack("<iii", 1, 0, kind) + bytes(6 * size)


if __name__ == "__main__":
    harness.main(globals(), _LONGEST)
