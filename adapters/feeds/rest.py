"""What a vendor's HTTP interface answers, for feeds that have a history."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from openbell.errors import ConfigError, DataError, LoginRefused

ANSWER_BYTES = 256 * 2**20
"""Of an answer, more is not read."""

SECONDS = 20.0
"""How long an answer may take."""

_TOLD = 200


def needs_urllib3(of_type: str) -> None:
    """See that the package is there.

    Raises
    ------
    ConfigError
    """
    try:
        import urllib3  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"feed.type is {of_type}, and the package urllib3 is not installed; "
            f"pip install 'openbell[{of_type}]'"
        ) from None


def asked(
    url: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    hidden: frozenset[str] = frozenset(),
    ca_file: Path | None = None,
    body: Mapping[str, object] | None = None,
) -> Any:
    """The JSON that a GET brings, or a POST of JSON.

    Parameters
    ----------
    body : mapping, optional
        What is posted; None: it is a GET.
    hidden : frozenset of str
        What is kept out of what is told.

    Raises
    ------
    LoginRefused
        On 401 and 403.
    DataError
        If there is no answer, or none that can be used; it may be another time.
    """
    import urllib3
    from urllib3.exceptions import HTTPError

    where = url.partition("?")[0]
    ca = None if ca_file is None else str(ca_file.expanduser())
    try:
        with urllib3.PoolManager(ca_certs=ca, maxsize=1) as pool:
            answer = pool.request(
                "GET" if body is None else "POST",
                url,
                fields=dict(params) if body is None else None,
                json=body,
                headers={"User-Agent": "openbell", **headers},
                timeout=SECONDS,
                retries=False,
                preload_content=False,
            )
            given = answer.read(ANSWER_BYTES, decode_content=True)
            status = answer.status
    except (HTTPError, OSError, ValueError) as error:
        raise DataError(f"{where}: {_plain(str(error), hidden)}") from None
    if status in (401, 403):
        raise LoginRefused(f"{where}: {status} {_plain(_words(given), hidden)}")
    if status != 200:
        raise DataError(f"{where}: {status} {_plain(_words(given), hidden)}")
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError:
        raise DataError(f"{where}: it answers no JSON: {_plain(_words(given), hidden)}") from None


def _words(body: bytes) -> str:
    return body[: _TOLD * 4].decode(errors="backslashreplace")


def _plain(text: str, hidden: frozenset[str]) -> str:
    for secret in sorted(hidden, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "…")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}…"
