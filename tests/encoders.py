"""Encoders for kinds of picture files that Pillow does not write."""

import io
import struct
import zlib

import numpy as np

TYPES = {3: "H", 4: "L", 16: "Q"}


def saved(image, kind, **options):
    """Return the bytes that Pillow writes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(values, bits=8, photometric=2, order="<", planar=False, tags=(), is_big=False):
    """An uncompressed TIFF of one strip per plane.

    `values` has shape (H, W, samples); `tags` are further (tag, type, values or bytes).
    """
    height, width, samples = values.shape
    planes = [values[..., [n]] for n in range(samples)] if planar else [values]
    strips = [packed(plane.reshape(height, -1), bits, order) for plane in planes]
    start = 16 if is_big else 8
    offsets = [start + sum(map(len, strips[:n])) for n in range(len(strips))]
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [1]),
        262: (3, [photometric]), 273: (4, offsets), 277: (3, [samples]), 278: (4, [height]),
        279: (4, list(map(len, strips))), 284: (3, [2 if planar else 1]),
        **{tag: (kind, content) for tag, kind, content in tags},
    }  # fmt: skip
    data = b"".join(strips)
    data += bytes(len(data) % 2)
    return with_folder(data, entries, order, is_big)


def packed(rows, bits, order):
    """Pack rows of numbers, highest bit first; each row begins at a byte."""
    if bits % 8 == 0:
        kind = rows.dtype.kind if rows.dtype.kind == "f" else "u"
        return rows.astype(f"{order}{kind}{bits // 8}").tobytes()
    ones = (rows[..., None].astype(int) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(len(rows), -1).astype("u1"), axis=1).tobytes()


def with_folder(data, entries, order="<", is_big=False):
    """A TIFF: the header, then the data, then a folder of tags."""
    field_size, pointer = (8, "Q") if is_big else (4, "L")
    folder_at = (16 if is_big else 8) + len(data)
    tail_at = folder_at + (8 if is_big else 2) + len(entries) * (4 + 2 * field_size) + field_size
    table, tail = struct.pack(order + ("Q" if is_big else "H"), len(entries)), b""
    for tag, (kind, content) in sorted(entries.items()):
        if isinstance(content, bytes):
            raw, count = content, len(content)
        else:
            count = len(content)
            raw = struct.pack(f"{order}{count}{TYPES[kind]}", *content)
        table += struct.pack(f"{order}HH{pointer}", tag, kind, count)
        if len(raw) <= field_size:
            table += raw.ljust(field_size, b"\0")
        else:
            table += struct.pack(order + pointer, tail_at + len(tail))
            tail += raw + bytes(len(raw) % 2)
    name = b"II" if order == "<" else b"MM"
    if is_big:
        head = name + struct.pack(order + "HHHQ", 43, 8, 0, folder_at)
    else:
        head = name + struct.pack(order + "HL", 42, folder_at)
    return head + data + table + bytes(field_size) + tail


def chunk(name, data):
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def png(rows, depth, colour, *chunks, width=None):
    """A PNG of rows, given as packed bytes; `chunks` precede the pixels."""
    width = width or len(rows[0]) * 8 // depth // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    header = struct.pack(">LLBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def box(name, data):
    return struct.pack(">L", 8 + len(data)) + name + data


def with_jp2_boxes(content, *added, keep_colours=False):
    """A JP2 with boxes added to its header, in place of its colour specification."""
    start = content.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">L", content, start)
    inner = content[start + 8 : start + length]
    if not keep_colours:
        at = inner.index(b"colr") - 4
        inner = inner[:at] + inner[at + struct.unpack_from(">L", inner, at)[0] :]
    return content[:start] + box(b"jp2h", inner + b"".join(added)) + content[start + length :]


def with_avif_property(content, name, data):
    """An AVIF of one item, as Pillow writes it, with one more property."""
    new, places = box(name, data), {}
    for path in ((b"meta",), (b"iprp", b"ipco"), (b"iprp", b"ipma"), (b"iprp",), (b"iloc",)):
        at = content.index(path[-1]) - 4
        places[path[-1]] = at, at + struct.unpack_from(">L", content, at)[0]
    count = properties_in(content[slice(*places[b"ipco"])])
    start, stop = places[b"ipma"]
    # Version, flags and number of entries; the item, how many properties it has, their numbers.
    links = bytearray(content[start:stop])
    links[18] += 1
    # Marked as essential: every reader must support a property that crops.
    links.append(0x80 | count + 1)
    grown = len(new) + 1
    edits = {
        places[b"ipma"]: struct.pack(">L", len(links)) + bytes(links[4:]),
        (places[b"ipco"][1], places[b"ipco"][1]): new,
    }
    result = content
    for (start, stop), replacement in sorted(edits.items(), reverse=True):
        result = result[:start] + replacement + result[stop:]
    for owner, more in ((b"meta", grown), (b"iprp", grown), (b"ipco", len(new))):
        at = result.index(owner) - 4
        size = struct.unpack_from(">L", result, at)[0] + more
        result = result[:at] + struct.pack(">L", size) + result[at + 4 :]
    data_at = content.index(b"mdat") + 4
    at = result.index(struct.pack(">L", data_at), result.index(b"iloc"))
    return result[:at] + struct.pack(">L", data_at + grown) + result[at + 4 :]


def properties_in(container):
    count, at = 0, 8
    while at < len(container):
        count, at = count + 1, at + struct.unpack_from(">L", container, at)[0]
    return count
