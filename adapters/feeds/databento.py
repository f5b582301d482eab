"""Databento's live gateway as a feed, by Databento's own client.

`feed: {type: databento, options: {key: "${DATABENTO_API_KEY}", dataset: XNAS.ITCH}}`. The client
speaks the gateway's protocol and decodes; what comes is handed on as the bytes of its records.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator

from openbell.adapters import dbn
from openbell.adapters.feeds import connected
from openbell.adapters.feeds.base import Door, FeedInfo, FeedOptions, suits
from openbell.adapters.feeds.clients import ClientFeed, needs
from openbell.adapters.feeds.connected import Ended, Read, Refused
from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.socket_options import KEY, SomeSeconds, Staying, checked
from openbell.adapters.feeds.waiting import Frame
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError, DataError, LoginRefused
from openbell.hosttime import monotonic, wall_ns
from openbell.market.assembly import no_raw_rows
from openbell.market.bars import Kind, RawRows

PORT = 13_000

HEARTBEAT_SECONDS = 5
"""The shortest that the gateway takes."""

REPLAY_ENDS_SECONDS = 5.0
"""How far the gateway's time is read beyond the last row that is asked of its history."""

_NO_TIME = 2**63
"""From here on a time is none."""

INFO = FeedInfo(
    kinds=("ticks", "bars"),
    size_is="trade",
    stamps="a trade's time at the venue (ts_event); of a bar its start",
    idle_minute="no row",
    revised="never",
    login_ends="an authentication error when it connects; keys end when they are revoked",
    silence="a heartbeat at least every `heartbeat` (10s) without rows; `silence_max` (30s) without "
    "any has it connect anew",
    history="the gateway's replay of the last 24 hours",
)


def _gateway(given: str) -> str:
    if not re.fullmatch(r"[^\s:/]+(:\d{1,5})?", given):
        raise ValueError("write a host, with a port or without, e.g. localhost:13000")
    return given


class Options(Staying):
    """`feed.options` of Databento's feed."""

    secrets: ClassVar[tuple[str, ...]] = ("key",)

    key: str
    dataset: str
    stype_in: Literal["raw_symbol", "continuous"] = "raw_symbol"
    """What symbols are to the gateway."""
    symbols: dict[str, str] = {}  # noqa: RUF012 pydantic copies it
    """Our name → Databento's, where they differ."""
    gateway: Annotated[str, AfterValidator(_gateway)] | None = None
    """Host, and port; None: that of the dataset."""
    heartbeat: SomeSeconds = 10.0
    """How often the gateway is to speak where there are no rows; whole seconds, 5 at least."""
    silence_max: SomeSeconds | None = 30.0


_EXAMPLES = {
    "key": '"${DATABENTO_API_KEY}"',
    "dataset": "XNAS.ITCH",
    "stype_in": "raw_symbol or continuous",
    "symbols": "{ES: ES.c.0}",
}


def open_databento_feed(options: FeedOptions) -> DatabentoFeed:
    """What `feed: {type: databento, options: {key, dataset}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, or a secret is not there.
    """
    needs("databento", "databento", "databento")
    suits("databento", options, INFO)
    given = checked(Options, options.given, _EXAMPLES)
    filled_in(given.key, f"{KEY}.key")
    if options.kind == "bars" and options.interval_ns not in dbn.SCHEMAS:
        raise ConfigError(
            "data.interval is none of Databento's bars; write 1m, 1s or 1h, and make longer ones by "
            "upkeep.derived_intervals"
        )
    return DatabentoFeed(given, options)


class DatabentoFeed(ClientFeed):
    """Databento's live gateway."""

    info = INFO

    def __init__(self, given: Options, options: FeedOptions) -> None:
        host, _, port = (given.gateway or "").partition(":")
        self._host = host or f"{given.dataset.lower().replace('.', '-')}.lsg.databento.com"
        self._port = int(port or PORT)
        super().__init__(given, options.symbols, given.dataset)
        self._options, self._kind = given, options.kind
        self._interval_ns = options.interval_ns if options.kind == "bars" else None
        bars = options.kind == "bars"
        interval = options.interval_ns or 0
        self._schema = dbn.SCHEMAS[interval] if bars else "trades"
        self._records = _Records(
            options.kind, (dbn.RTYPES[interval],) if bars else dbn.TRADES, given.symbols
        )

    def _key(self) -> str:
        found = filled_in(self._options.key, f"{KEY}.key")
        assert isinstance(found, str)
        self._hidden = frozenset({found})
        return found

    # --- live

    async def _talk(self, door: Door) -> None:
        def came(record: Any) -> None:
            body = bytes(record)
            if _is_worth_reading(record, body):
                self._waiting.put(body, wall_ns())

        async with self._logged_in(came) as protocol:
            self._is_logged_in()
            subscribed = set(self._symbols)
            self._subscribe(protocol, self._symbols)
            protocol.start()
            door.said("connected", self.where)
            while True:
                await asyncio.wait({protocol.disconnected}, timeout=connected.POLL_SECONDS)
                if protocol.disconnected.done():
                    protocol.disconnected.result()
                    return
                silence = self._options.silence_max
                if silence is not None and monotonic() - protocol.heard > silence:
                    raise Ended(f"nothing came for {silence:g} s, not even a heartbeat")
                # Of what is subscribed to already a second time may bring each record twice.
                while self._resubscribe:
                    symbols = self._resubscribe.popleft() or ()
                    if more := [symbol for symbol in symbols if symbol not in subscribed]:
                        subscribed.update(more)
                        self._subscribe(protocol, more)

    def _subscribe(self, protocol: Any, symbols: Sequence[str], since: int | None = None) -> None:
        protocol.subscribe(
            schema=self._schema,
            symbols=[self._options.symbols.get(symbol, symbol) for symbol in symbols],
            stype_in=self._options.stype_in,
            start=since,
        )

    @asynccontextmanager
    async def _logged_in(self, came: Callable[[Any], None]) -> AsyncIterator[Any]:
        """A session of the gateway's, in which nothing is subscribed to yet."""
        from databento.common.error import BentoError

        try:
            key = self._key()
        except ConfigError as error:  # it was there when the run began
            raise Refused(str(error)) from None
        seconds = max(HEARTBEAT_SECONDS, round(self._options.heartbeat))
        made = _protocol()
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await asyncio.wait_for(
                loop.create_connection(
                    lambda: made(came, key, self._options.dataset, heartbeat_interval_s=seconds),
                    self._host,
                    self._port,
                ),
                self._options.open_timeout,
            )
        except TimeoutError:
            raise Ended(f"it did not answer within {self._options.open_timeout:g} s") from None
        except ValueError as error:  # of the key's or the dataset's form
            raise Refused(str(error)) from None
        ends = (protocol.authenticated, protocol.disconnected, protocol.metadata_received)
        try:
            await asyncio.wait(
                ends[:2], timeout=self._options.open_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if protocol.authenticated.done():
                try:
                    protocol.authenticated.result()
                except BentoError as error:
                    raise Refused(f"it says {error}") from None
            elif protocol.disconnected.done():
                protocol.disconnected.result()
                raise Ended("it hung up before the login")
            else:
                raise Ended(f"it did not answer within {self._options.open_timeout:g} s")
            yield protocol
        except BentoError as error:
            raise Ended(str(error)) from None
        finally:
            transport.abort()
            for end in ends:
                if end.done() and not end.cancelled():
                    end.exception()  # looked at, so that asyncio does not tell it

    def _read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        return self._records.read(frames, refuse)

    # --- which symbols there are

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        """By a session of its own, in which the gateway names the instruments of each."""
        try:
            return asyncio.run(self._resolved(symbols, seconds))
        except Refused as error:
            raise LoginRefused(self._hide(f"{self.where}: {error}")) from None
        except (Ended, OSError) as error:
            raise DataError(self._hide(f"{self.where}: {error}")) from None

    async def _resolved(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        refused: dict[str, str] = {}
        records = _Records(self._kind, self._records.rtypes, self._options.symbols)
        until = monotonic() + seconds

        def refuse(kind: str, where: str, why: str) -> None:
            if kind == "symbol refused":
                refused[where] = why

        def came(record: Any) -> None:
            body = bytes(record)
            if _is_worth_reading(record, body):
                records.read([Frame(1, body, wall_ns())], refuse)

        async with self._logged_in(came) as protocol:
            self._subscribe(protocol, symbols)
            protocol.start()
            while not {*records.named, *refused}.issuperset(symbols):
                if monotonic() >= until:
                    waits = ", ".join(sorted({*symbols} - {*records.named, *refused}))
                    raise TimeoutError(
                        f"it did not answer within {seconds:g} s whether it has {waits}"
                    )
                await asyncio.wait({protocol.disconnected}, timeout=connected.POLL_SECONDS)
                if protocol.disconnected.done():
                    protocol.disconnected.result()
                    raise Ended("it hung up")
        return refused

    # --- history

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        """By a session of its own, which the gateway replays from an instant on."""
        try:
            return asyncio.run(self._replayed(tuple(symbols), from_ns, until_ns))
        except Refused as error:
            raise LoginRefused(self._hide(f"{self.where}: {error}")) from None
        except (Ended, OSError) as error:
            raise DataError(self._hide(f"{self.where}: {error}")) from None

    async def _replayed(self, symbols: tuple[str, ...], from_ns: int, until_ns: int) -> RawRows:
        frames: list[Frame] = []
        reached, live = 0, False

        def came(record: Any) -> None:
            nonlocal reached, live
            body = bytes(record)
            live = live or _says_replay_is_over(record, body)
            if record.ts_event < _NO_TIME:
                reached = max(reached, record.ts_event)
            if _is_worth_reading(record, body):
                frames.append(Frame(len(frames) + 1, body, wall_ns()))

        async with self._logged_in(came) as protocol:
            self._subscribe(protocol, symbols, from_ns)
            protocol.start()
            beyond = until_ns + int(REPLAY_ENDS_SECONDS * 1e9)
            while not (live and reached >= beyond):
                if self._closed.is_set():
                    raise Ended("the run is over")
                await asyncio.wait({protocol.disconnected}, timeout=connected.POLL_SECONDS)
                if protocol.disconnected.done():
                    protocol.disconnected.result()
                    raise Ended("it hung up while it replayed")
        read = _Records(self._kind, self._records.rtypes, self._options.symbols).read(
            frames, lambda *_: None
        )
        if read.ended is not None:
            raise Ended(f"it says {read.ended}")
        rows = read.rows
        if rows is None:
            return no_raw_rows(symbols, self._interval_ns)
        return rows.taken(np.flatnonzero((rows.ts >= from_ns) & (rows.ts < until_ns)))


class _Records:
    """Makes rows of records, as one session names their instruments."""

    def __init__(self, kind: Kind, rtypes: tuple[int, ...], symbols: dict[str, str]) -> None:
        self._kind, self.rtypes = kind, rtypes
        self._ours = {theirs: ours for ours, theirs in symbols.items()}
        self._named: dict[int, str] = {}
        """Instrument → our symbol."""

    @property
    def named(self) -> frozenset[str]:
        """Our symbols of which instruments were named."""
        return frozenset(self._named.values())

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        read = Read()
        size = dbn.RECORD_BYTES[self._kind]
        bodies: list[bytes] = []
        place: dict[str, int] = {}
        code: list[int] = []
        numbers: list[int] = []
        for frame in frames:
            body = frame.body
            if body[1] not in self.rtypes:
                self._take_other(frame, read, refuse)
                continue
            instrument = int.from_bytes(body[4:8], "little")
            symbol = self._named.get(instrument)
            if symbol is None:
                refuse(
                    "an instrument has no symbol",
                    f"databento message {frame.number}",
                    f"nothing was said of instrument {instrument} before",
                )
                continue
            bodies.append(body[:size])
            code.append(place.setdefault(symbol, len(place)))
            numbers.append(frame.number)
        if bodies:
            records = np.frombuffer(b"".join(bodies), dbn.layout(self._kind, size))
            read.rows = RawRows(
                kind=self._kind,
                symbols=tuple(place),
                code=np.array(code, np.int32),
                ts=dbn.times(records, self._kind),
                columns=dbn.columns(records, self._kind),
                locate=lambda i: (f"databento message {numbers[i]}", 1),
            )
        return read

    def _take_other(self, frame: Frame, read: Read, refuse: Refuse) -> None:
        from databento_dbn import ErrorMsg

        if frame.body[1] == dbn.SYMBOL_MAPPING:
            instrument, theirs = dbn.mapping_told(frame.body)
            self._named[instrument] = self._ours.get(theirs, theirs)
            return
        told = _told(frame.body)
        if isinstance(told, ErrorMsg):
            self._take_error(str(told.code).upper(), str(told.err), read, refuse)
        else:
            read.others.append(str(getattr(told, "msg", type(told).__name__)))

    def _take_error(self, code: str, text: str, read: Read, refuse: Refuse) -> None:
        text = " ".join(text.split())
        if code in ("AUTH_FAILED", "API_KEY_DEACTIVATED"):
            read.login = text
        elif code == "SYMBOL_RESOLUTION_FAILED":
            words = re.findall(r"[^\s,'\"\[\]]+", text)
            refuse("symbol refused", self._ours.get(words[-1], words[-1]) if words else "?", text)
        else:  # where records were skipped too: so the gap is told, and filled
            read.ended = text


def _told(body: bytes) -> Any:
    """What a message says that is no row."""
    from databento_dbn import DBNDecoder

    decoder = DBNDecoder(has_metadata=False)
    decoder.write(body)
    return next(iter(decoder.decode()), None)


def _is_worth_reading(record: Any, body: bytes) -> bool:
    """Whether it is a row, or says something that has to be known."""
    if body[1] != dbn.SYSTEM:
        return True
    return not (
        record.is_heartbeat() or str(record.code).upper() in ("END_OF_INTERVAL", "SUBSCRIPTION_ACK")
    )


def _says_replay_is_over(record: Any, body: bytes) -> bool:
    return body[1] == dbn.SYSTEM and str(record.code).upper() == "REPLAY_COMPLETED"


def _protocol() -> type[Any]:
    """The client's side of a session, that tells when it heard anything."""
    from databento.live.protocol import DatabentoLiveProtocol

    class Session(DatabentoLiveProtocol):
        def __init__(self, came: Callable[[Any], None], *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._came = came
            self.heard = monotonic()

        def buffer_updated(self, nbytes: int) -> None:
            self.heard = monotonic()
            super().buffer_updated(nbytes)

        def received_record(self, record: Any) -> None:
            self._came(record)

    return Session
