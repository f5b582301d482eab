"""What vendors write of a row beside its prices: the trade's number, and that a bar is not whole."""

from __future__ import annotations

import hashlib
import math


def trade_number(given: object) -> float:
    """A whole number that stands for a vendor's number of a trade; NaN: there is none.

    Numbers below 2**52 stand for themselves; others, and texts, for one beyond it that hardly any
    two share.
    """
    if given is None or given == "" or (isinstance(given, float) and given != given):  # noqa: PLR0124
        return math.nan
    text = given.strip() if isinstance(given, str) else given
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 16:
        text = int(text) if str(int(text)) == text else text
    if isinstance(text, float) and text.is_integer():
        text = int(text)
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < _OWN:
        return float(text)
    digest = hashlib.blake2b(str(text).encode(), digest_size=8).digest()
    return float(_OWN + int.from_bytes(digest) % _OWN)


_OWN = 2**52

_NOT = frozenset({"", "0", "0.0", "false", "f", "no", "n", "null", "none", "nan"})


def is_partial(given: object) -> bool:
    """Whether a bar is marked as partial, however that is written."""
    if isinstance(given, str):
        return given.strip().lower() not in _NOT
    return given is not None and given == given and bool(given)  # noqa: PLR0124
