"""Why a commit is refused, in the words of every store."""

from __future__ import annotations

from openbell.adapters.stores.base import Conflict, Gap
from openbell.errors import way_out


def past(where: str, number: int, last: int) -> Gap:
    """The digest of a commit of that number is not known any more."""
    return Gap(
        f"{where}: commit {number} is long past, the last one is {last}; nothing was written; "
        "read the state anew"
    )


def does_not_follow(where: str, number: int, last: int) -> Gap:
    return Gap(
        f"{where}: commit {number} does not follow {last}, the last one; nothing was written; "
        "read the state anew"
    )


def step_does_not_follow(where: str, number: int, first_step: int | None, last: int) -> Gap:
    return Gap(
        f"{where}: commit {number}: step {first_step} does not follow {last}, the last one; "
        "nothing was written; read the state anew"
    )


def conflict(where: str, number: int, held: bytes, digest: bytes) -> Conflict:
    return Conflict(
        f"{where}: commit {number} exists with another content (digest {held.hex()}, now "
        f"{digest.hex()}): two writers, or a run that isn't deterministic; nothing was written; "
        f"{way_out('compare them with `openbell replay`', 'keep a copy of the store')}"
    )
