"""Asks for a URL, and how that was answered."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import NamedTuple

BYTES_MAX = 1_000_000


class Unanswered(Exception):
    """Nobody answered, or nothing that could be understood; its text says why."""


class Answered(NamedTuple):
    status: int
    text: str


def asked(
    url: str, *, token: str | None = None, seconds: float, directly: bool = False
) -> Answered:
    """What GET of an `http` or `https` URL is answered with, whatever its status.

    Parameters
    ----------
    directly : bool
        Whether proxies that the environment names are passed by.

    Raises
    ------
    Unanswered
    """
    headers = {"User-Agent": "openbell"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 its scheme is looked at below
        if request.type not in ("http", "https"):
            raise Unanswered(f"{request.type} is not asked")
        proxies: dict[str, str] | None = {} if directly else None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
        with opener.open(request, timeout=seconds) as answer:
            return Answered(answer.status, answer.read(BYTES_MAX).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, error.read(BYTES_MAX).decode("utf-8", "replace"))
    except urllib.error.URLError as error:
        raise Unanswered(str(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(str(error) or type(error).__name__) from None
