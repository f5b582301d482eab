"""Messages of vendors as rows: whatever they hold, what is no row is counted, and nothing is raised."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.feeds.entries import Decoder
from openbell.adapters.feeds.frames import Frames, Path, Seen, Where

KEYS = ("s", "t", "p", "v", "id", "data", "x")

json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["1e5", "1.5", "2024-07-01T09:30:00Z", "2024-07-01 09:30", "1e99", "-1"]),
    lambda of: st.lists(of, max_size=4) | st.dictionaries(st.sampled_from(KEYS), of, max_size=5),
    max_leaves=12,
)


def frames(kind: Any, rows: str | None, where: dict[str, Any] | None) -> Frames:
    names = ("price", "size", "trade_id") if kind == "ticks" else ("open", "high", "low", "close")
    fields = {"symbol": Path("s"), "ts": Path("t"), **{name: Path("p") for name in names}}
    return Frames(
        decoder=Decoder(kind, "test", ts_unit="ms", timezone="Asia/Kolkata"),
        fields=fields if kind == "ticks" else {**fields, "closed": Path("x")},
        rows=None if rows is None else Path(rows),
        where=Where() if where is None else Where.given(where),
        refused_login=Where.given({"x": True}),
    )


@given(
    messages=st.lists(json.map(orjson.dumps) | st.binary(max_size=20), max_size=6),
    kind=st.sampled_from(["ticks", "bars"]),
    rows=st.sampled_from([None, "data", "data.0", "0", "$"]),
    where=st.sampled_from([None, {"s": "*"}, {"$.x": [1, None, "a*"]}]),
)
def test_no_message_is_an_error_and_each_is_accounted_for(
    messages: list[bytes], kind: str, rows: str | None, where: dict[str, Any] | None
) -> None:
    refused: list[tuple[str, str, str]] = []
    seen = Seen()

    found, _ = frames(kind, rows, where).read(
        list(enumerate(messages, 1)), lambda *of: refused.append(of), seen
    )

    assert seen.messages == len(messages)
    assert all(len(why) < 1_000 and why.isprintable() for _, _, why in refused)
    named = {place.split(",")[0] for _, place, _ in refused}
    if found is not None:
        named |= {found.locate(n)[0] for n in range(len(found))}
        assert all(len(column) == len(found.ts) for column in found.columns.values())
    # A message is a row, or several, or refused, or counted among the others.
    assert len(named) + seen.others == len(messages)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", 1),
        ("c.1", 3),
        ("c.-1", 3),
        ("c.7", None),
        ("d\\.e", 4),
        ("a.b.c", None),
        ("c.x", None),
    ],
)
def test_a_path_leads_where_it_says(path: str, found: Any) -> None:
    message = {"a": {"b": 1}, "c": [2, 3], "d.e": 4}

    value = Path(path).of(message, message)

    assert value == found or (found is None and not isinstance(value, int))


@pytest.mark.parametrize("path", ["", ".", "a.", "a..b", "$."])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="names and places"):
        Path(path)
