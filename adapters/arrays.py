"""Arrow arrays over numpy's memory, and of texts.

`pyarrow.array` does as much, and more; but to look for Series and Categoricals it imports pandas,
which takes longer than all else that a short run does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openbell.market.bars import Mask

_TYPES = {
    "int8": pa.int8(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "datetime64[s]": pa.timestamp("s"),
}


def array_of(values: NDArray[Any], absent: Mask | None = None, kind: Any = None) -> pa.Array:
    """An array that shares the memory of values, which must not be written any more.

    Parameters
    ----------
    values : (n,) bool, int8, int32, int64, float64 or datetime64[s]
    absent : (n,) bool, optional
        Where the array is null.
    kind : Arrow type, optional
        Another one of the same width, for what the values mean.
    """
    valid = None if absent is None or not absent.any() else _bits(~absent)
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [valid, _bits(values)])
    kind = _TYPES[str(values.dtype)] if kind is None else kind
    data = pa.py_buffer(np.ascontiguousarray(values).view(np.uint8))
    return pa.Array.from_buffers(kind, len(values), [valid, data])


def texts_of(values: Iterable[str]) -> pa.StringArray:
    """An array of texts, none of them null."""
    encoded = [value.encode() for value in values]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(ends.view(np.uint8)), pa.py_buffer(b"".join(encoded))
    )


@lru_cache(maxsize=256)
def text_of(value: str) -> pa.StringScalar:
    """A text that stands for as many rows as there are."""
    return texts_of((value,))[0]


def join_of(*pieces: Any) -> pa.StringArray:
    """Each row's pieces, one after another, with the last piece between them; texts may be plain."""
    known = [text_of(piece) if isinstance(piece, str) else piece for piece in pieces]
    return pc.binary_join_element_wise(*known)


def _bits(mask: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))
