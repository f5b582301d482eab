"""What every feed that can be asked again has to do, shown on a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import orjson
import pytest
from feed_places import Place

from openbell.adapters.feeds import ConnectionState, Feed
from openbell.errors import DataError
from openbell.market.bars import RawRows
from openbell.market.days import MarketTime

PATIENCE_SECONDS = 120.0


class Kept:
    """A door that keeps all that comes, and what a restart would need."""

    def __init__(self, stop_after: int | None = None, pause: float = 0.0) -> None:
        self.came: list[Any] = []
        """(symbol, ts, price, size) of ticks, dates of marks."""
        self.located: list[tuple[str, int]] = []
        self.marks: list[tuple[int, str]] = [(0, "")]
        self.refused: list[tuple[str, str, str]] = []
        self.states: list[ConnectionState] = []
        self.caught_up_at: list[int] = []
        """How much had come each time that the feed said that it had caught up."""
        self.stop_after = stop_after
        self.pause = pause
        self.news = threading.Condition()
        self.feed: Feed | None = None

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        assert position is not None
        time.sleep(self.pause)
        self._skip_to(position)
        names = [rows.symbols[code] for code in rows.code]
        columns = zip(
            names, rows.ts.tolist(), *(c.tolist() for c in rows.columns.values()), strict=True
        )
        return self._keep(position, list(columns), [rows.locate(n) for n in range(len(rows))], mark)

    def end_day(self, day: date, position: int | None = None, mark: str = "") -> int:
        assert position is not None
        if day.weekday() > 4:
            raise DataError(f"{day} is no trading day")
        return self._keep(position, [day], [(mark, 0)], mark)

    def _skip_to(self, position: int) -> None:
        assert position <= len(self.came), "rows are left out"

    def _keep(self, position: int, rows: list[Any], located: list[Any], mark: str) -> int:
        with self.news:
            had = len(self.came) - position
            assert self.came[position:][: len(rows)] == rows[:had], "other rows than before"
            self.came += rows[had:]
            self.located += located[had:]
            self.marks.append((position + len(rows), mark))
            if self.stop_after is not None and len(self.came) >= self.stop_after:
                assert self.feed is not None
                self.feed.close()
            self.news.notify_all()
            return len(self.came)

    def caught_up(self) -> None:
        with self.news:
            self.caught_up_at.append(len(self.came))
            self.news.notify_all()

    def refuse(self, kind: str, where: str, why: str) -> None:
        with self.news:
            self.refused.append((kind, where, why))
            self.news.notify_all()

    def said(self, state: ConnectionState, why: str) -> None:
        with self.news:
            self.states.append(state)
            self.news.notify_all()

    def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
        raise AssertionError("a stream tells of no halts")

    def gap(
        self, from_ns: MarketTime, until_ns: MarketTime, symbols: tuple[str, ...] | None, why: str
    ) -> None:
        raise AssertionError("a stream that can be asked again has no gaps")

    def wait(self, came: int = 0, refused: int = 0) -> None:
        with self.news:
            assert self.news.wait_for(
                lambda: len(self.came) >= came and len(self.refused) >= refused, PATIENCE_SECONDS
            ), (self.came, self.refused)

    def wait_said(self, state: ConnectionState) -> None:
        with self.news:
            assert self.news.wait_for(lambda: state in self.states, PATIENCE_SECONDS)


@contextmanager
def delivering(feed: Feed, door: Kept, position: int = 0, mark: str = "") -> Iterator[None]:
    door.feed = feed
    thread = threading.Thread(target=feed.run, args=(door, position, mark))
    thread.start()
    try:
        yield
    finally:
        feed.close()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def tick(n: int, symbol: str = "A", **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "ts": f"2024-07-01T13:30:{n % 60:02}Z", "price": 10 + n, **more}


def prices(door: Kept) -> list[Any]:
    return [row if isinstance(row, date) else row[2] for row in door.came]


def test_rows_come_in_the_order_of_writing_whatever_their_times(place: Place) -> None:
    place.write(tick(5), tick(1), tick(1), tick(9, "B"))
    door = Kept()

    with delivering(place.feed(), door):
        door.wait(4)
        place.write(tick(0), {"end": "2024-07-01"})
        door.wait(6)

    assert prices(door) == [15, 11, 11, 19, 10, date(2024, 7, 1)]
    assert door.came[3][0] == "B"


def test_a_row_is_named_by_its_entry(place: Place) -> None:
    first, second = place.write(tick(1), {"rows": orjson.dumps([tick(2), tick(3)])})
    door = Kept()

    with delivering(place.feed(), door):
        door.wait(3)

    name = place.stream
    assert door.located == [
        (f"{name} {first}", 1),
        (f"{name} {second}", 1),
        (f"{name} {second}", 2),
    ]


GARBAGE: list[tuple[dict[str, Any], str]] = [
    ({"hello": "world"}, "ts is missing"),
    ({"symbol": "A", "ts": "2024-07-01T13:30:00Z"}, "price is missing"),
    ({"ts": "2024-07-01T13:30:00Z", "price": "1"}, "symbol is missing"),
    ({**tick(1), "symbol": ""}, "symbol is no text"),
    ({**tick(1), "symbol": b"\xff\xfe"}, "symbol is no text"),
    ({**tick(1), "price": "ten"}, "price is no number"),
    ({**tick(1), "price": "1_0"}, "price is no number"),
    ({**tick(1), "price": b"\x00\xff"}, "price is no text"),
    ({**tick(1), "ts": "2024-07-01T13:30:00"}, "ts has no zone"),
    ({**tick(1), "ts": "soon"}, "ts is no time"),
    ({**tick(1), "ts": "2024-13-01T13:30:00Z"}, "ts is no time"),
    ({**tick(1), "ts": "1719840600"}, "ts is a number without a unit"),
    ({**tick(1), "ts": "9" * 5000}, "ts is out of range"),
    ({"rows": "[{]"}, "rows can't be read"),
    ({"rows": '{"symbol": "A"}'}, "rows can't be read"),
    ({"rows": b"\xff\xff\xff\xff\x10\x00\x00\x00garbage"}, "rows can't be read"),
    ({"rows": ""}, "rows can't be read"),
    ({"rows": "[3]"}, "a row is no object"),
    ({"rows": '[{"symbol": "A", "ts": true, "price": 1}]'}, "ts is no time"),
    (
        {"rows": '[{"symbol": "A", "ts": "2024-07-01T13:30:00Z", "price": [1]}]'},
        "price is no number",
    ),
    ({"end": "tomorrow"}, "end is no date"),
    ({"end": "2024-07-06"}, "end is no day of this run"),
]


def test_garbage_is_refused_by_its_id_and_all_else_comes(place: Place) -> None:
    entries: list[dict[str, Any]] = []
    for n, (garbage, _) in enumerate(GARBAGE):
        entries += [tick(n), garbage]
    ids = place.write(*entries, tick(99))[1::2]
    door = Kept()

    with delivering(place.feed(batch=5), door):
        door.wait(len(GARBAGE) + 1, refused=len(GARBAGE))

    assert prices(door) == [*(10 + n for n in range(len(GARBAGE))), 109]
    assert [kind for kind, _, _ in door.refused] == [kind for _, kind in GARBAGE]
    for of, (_, where, why) in zip(ids, door.refused, strict=True):
        assert where.startswith(f"{place.stream} {of}")
        assert len(why) < 400


@pytest.mark.parametrize("batch", [1, 1000])
def test_a_restart_at_every_row_loses_and_doubles_nothing(place: Place, batch: int) -> None:
    place.write(
        tick(1),
        {"rows": orjson.dumps([tick(2), tick(3), {"bad": 1}, tick(4)])},
        {"bad": "1"},
        tick(5),
        {"end": "2024-07-01"},
        tick(6),
    )
    whole = [11, 12, 13, 14, 15, date(2024, 7, 1), 16]

    for stop in range(1, len(whole)):
        door = Kept(stop_after=stop)
        with delivering(place.feed(batch=batch), door):
            door.wait(stop)
        door.stop_after = None
        for position, mark in list(door.marks):  # a snapshot may be older than what was taken
            with delivering(place.feed(batch=batch), door, position, mark):
                door.wait(len(whole))
        assert prices(door) == whole


def test_a_server_that_is_killed_is_told_once_and_nothing_is_lost(place: Place) -> None:
    door = Kept()

    with delivering(place.feed(), door):
        for n in range(3):
            place.write(tick(n))
            door.wait(n + 1)
        place.server.kill()
        door.wait_said("reconnecting")
        place.server.start()
        place.write(tick(3), tick(4))
        door.wait(5)

    assert prices(door) == [10, 11, 12, 13, 14]
    assert door.states == ["connected", "reconnecting", "connected"]


def test_a_feed_waits_for_a_server_that_is_not_there_yet(place: Place) -> None:
    place.server.kill()
    door = Kept()

    with delivering(place.feed(), door):
        door.wait_said("reconnecting")
        time.sleep(0.5)  # several attempts, none of which is an answer
        place.server.start()
        place.write(tick(1))
        door.wait(1)

    assert prices(door) == [11]
    assert door.states == ["reconnecting", "connected"]


def test_a_slow_consumer_gets_everything(place: Place) -> None:
    place.write(*(tick(n) for n in range(40)))
    door = Kept(pause=0.01)

    with delivering(place.feed(batch=3), door):
        door.wait(40)

    assert prices(door) == [10 + n for n in range(40)]


def test_a_stream_trimmed_up_to_the_mark_goes_on(place: Place) -> None:
    *_, last = place.write(tick(1), tick(2), tick(3))
    place.trim(minid=last)
    place.write(tick(4))
    door = Kept()
    door.came = ["x"] * 3

    with delivering(place.feed(), door, 3, last):
        door.wait(4)

    assert prices_after(door, 3) == [14]


def prices_after(door: Kept, position: int) -> list[float]:
    return [row[2] for row in door.came[position:]]


def test_a_stream_trimmed_beyond_the_mark_is_refused(place: Place) -> None:
    _, second, _, fourth = place.write(*(tick(n) for n in range(4)))
    place.trim(minid=fourth)

    with pytest.raises(DataError, match="trimmed beyond") as refused:
        place.feed().run(Kept(), 2, second)

    assert second in str(refused.value)
    assert fourth in str(refused.value)
    assert "a run of another name" in str(refused.value)


def test_a_stream_trimmed_ahead_of_a_slow_reader_is_refused(place: Place) -> None:
    place.write(*(tick(n) for n in range(6)))
    door = Kept()
    taken = door.take

    def take(rows: RawRows, position: int | None = None, mark: str = "") -> int:
        place.trim(maxlen=1)
        return taken(rows, position, mark)

    door.take = take  # type: ignore[method-assign]

    with pytest.raises(DataError, match="trimmed beyond"):
        place.feed(batch=2).run(door, 0, "")

    assert prices(door) == [10, 11]


def test_an_emptied_stream_of_which_all_was_read_goes_on(place: Place) -> None:
    *_, last = place.write(tick(1), tick(2))
    place.trim(maxlen=0)
    door = Kept()
    door.came = ["x"] * 2
    feed = place.feed()

    with delivering(feed, door, 2, last):
        while not feed._met:  # type: ignore[attr-defined]
            time.sleep(0.01)
        place.write(tick(3))
        door.wait(3)

    assert prices_after(door, 2) == [13]


def test_what_is_no_stream_is_an_error_that_names_it(place: Place) -> None:
    place._client.set(place.stream, "text")

    with pytest.raises(DataError, match=r"this key is no stream, .* in feed.options.stream"):
        place.feed().run(Kept(), 0, "")
