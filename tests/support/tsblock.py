"""TsBlocks, written and read independently of the host's code (the layout is IoTDB's TsBlockSerde)."""

from __future__ import annotations

import struct

import numpy as np

#: Type bytes of the wire.
BOOLEAN, INT32, INT64, FLOAT, DOUBLE, TEXT = range(6)
_ENCODINGS = {BOOLEAN: 0, INT32: 1, FLOAT: 1, INT64: 2, DOUBLE: 2, TEXT: 3}
_TYPES = {INT32: ">i4", INT64: ">i8", FLOAT: ">f4", DOUBLE: ">f8"}
_KINDS = {"float32": FLOAT, "float64": DOUBLE, "int32": INT32, "int64": INT64, "bool": BOOLEAN}


def head(types: list[int], rows: int) -> bytes:
    """Everything before the time column."""
    encodings = bytes([2] + [_ENCODINGS[kind] for kind in types])
    return struct.pack(">i", len(types)) + bytes(types) + struct.pack(">i", rows) + encodings


def times(rows: int) -> bytes:
    """A plain time column 0, 1, 2, ..."""
    return b"\0" + np.arange(rows, dtype=">i8").tobytes()


def encode(array: np.ndarray, types: list[int] | None = None, nulls: np.ndarray | None = None) -> bytes:
    """A block of array [rows, columns]; the columns' types follow the array's unless they are named. Where nulls
    [rows, columns] is true there is no value."""
    rows, columns = array.shape
    kinds = types if types is not None else [_KINDS[array.dtype.name]] * columns
    parts = [head(kinds, rows), times(rows)]
    for index, kind in enumerate(kinds):
        values = array[:, index]
        flags = b"\0"
        if nulls is not None and nulls[:, index].any():
            flags = b"\1" + np.packbits(nulls[:, index]).tobytes()
            values = values if kind == BOOLEAN else values[~nulls[:, index]]
        data = np.packbits(values != 0).tobytes() if kind == BOOLEAN else values.astype(_TYPES[kind]).tobytes()
        parts.append(flags + data)
    return b"".join(parts)


def decode(block: bytes) -> np.ndarray:
    """What the node sends: plain columns without nulls, as an array [rows, columns]; trailing bytes are an error."""
    (columns,) = struct.unpack_from(">i", block, 0)
    kinds = list(block[4 : 4 + columns])
    (rows,) = struct.unpack_from(">i", block, 4 + columns)
    at = 8 + columns
    encodings = list(block[at : at + columns + 1])
    assert encodings == [2] + [_ENCODINGS[kind] for kind in kinds], encodings
    at += columns + 1
    assert block[at] == 0
    at += 1 + 8 * rows
    found = []
    for kind in kinds:
        assert block[at] == 0, "a null in an answer"
        at += 1
        if kind == BOOLEAN:
            size = (rows + 7) // 8
            found.append(np.unpackbits(np.frombuffer(block, np.uint8, size, at))[:rows].astype(bool))
        else:
            kind_of = np.dtype(_TYPES[kind])
            size = rows * kind_of.itemsize
            found.append(np.frombuffer(block, kind_of, rows, at).astype(kind_of.newbyteorder("=")))
        at += size
    assert at == len(block), f"{len(block) - at} bytes follow the block"
    return np.stack(found, axis=1)
