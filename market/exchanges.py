"""Names of exchanges."""

from __future__ import annotations

import re

_MIC = re.compile(r"[A-Za-z0-9]{4}")


def canonical(exchange: str) -> str:
    """An exchange's name as calendars have it: a MIC, such as xnys, may be in small letters."""
    return exchange.upper() if _MIC.fullmatch(exchange) else exchange
