"""States as bytes: what goes in comes out, bit for bit; what was damaged never does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from zlib import crc32

import msgpack
import numpy as np
import pytest
from drawn_values import FLOATS, INTEGERS, MESSAGES, STATES, TEXTS, instances
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from runs import drained, inline, of_cases, plain, some_days

from openbell.actors import clock, prefetch, session
from openbell.market.days import MarketTime, Segment, TradingDay
from openbell.market.windows import Window
from openbell.messages.base import Message
from openbell.messages.control import Prepared, Roll
from openbell.runtime.record.codec import SCHEMA, Undecodable, decode, encode


def arrays_in(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Message):
        yield from (found for _, part in value for found in arrays_in(part))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from arrays_in(getattr(value, field.name))
    elif isinstance(value, tuple | frozenset):
        yield from (found for part in value for found in arrays_in(part))


# What goes in comes out


@pytest.mark.parametrize(
    "kind", [*STATES, *MESSAGES], ids=lambda of: f"{of.__module__[9:]}.{of.__name__}"
)
@settings(max_examples=20)
@given(data=st.data())
def test_every_state_and_message_comes_back_bit_for_bit(kind: type, data: st.DataObject) -> None:
    value = data.draw(instances(kind))

    written = encode(value)
    back = decode(written)

    assert plain(back) == plain(value)
    assert encode(back) == written
    assert not any(array.flags.writeable for array in arrays_in(back))
    kept = decode(encode(value, compressed=True))
    assert encode(kept) == written
    assert not any(array.flags.writeable for array in arrays_in(kept))


VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS | st.binary(max_size=4) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.dates() | TEXTS, inner)
    ),
    max_leaves=12,
)
KEYS = st.tuples(st.dates(), INTEGERS) | st.dates() | TEXTS | INTEGERS | st.none()


@given(value=VALUES | st.frozensets(KEYS) | st.tuples(st.frozensets(KEYS), VALUES))
def test_any_value_comes_back_bit_for_bit(value: object) -> None:
    written = encode(value)

    assert plain(decode(written)) == plain(value)
    assert encode(decode(written)) == written


@given(bits=st.integers(0, 2**64 - 1))
def test_a_float_keeps_each_of_its_bits(bits: int) -> None:
    number = np.array([bits], np.uint64).view(np.float64)

    back = decode(encode((number, number[0], float(number[0]))))

    assert [np.float64(part).view(np.uint64) for part in (back[0][0], *back[1:])] == [bits] * 3


@pytest.mark.parametrize("scalar", [np.int64(-(2**63)), np.int8(-1), np.bool_(True), np.float64(1)])
def test_a_scalar_of_numpy_comes_back_as_the_number_that_it_is(scalar: Any) -> None:
    back = decode(encode(scalar))

    assert back == scalar
    assert type(back) in (int, float, bool)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f8", ">f8", "|b1", ">u4"])
def test_arrays_keep_their_values_on_a_machine_of_the_other_byte_order(dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 2]]).astype(dtype)

    back = decode(encode(array))

    assert back.tolist() == array.tolist()
    assert back.dtype == array.dtype.newbyteorder("<")


def test_equal_states_give_equal_bytes_however_their_arrays_lie() -> None:
    whole = np.arange(24.0).reshape(4, 6)
    views = [whole[::2, ::-1], whole.T[::3], np.broadcast_to(whole[0], (3, 6)), whole[1:1]]

    for view in views:
        assert encode(view) == encode(view.copy()) == encode(np.asfortranarray(view))
    tokens = [f"token {n}" for n in range(20)]
    assert encode(frozenset(tokens)) == encode(frozenset(reversed(tokens)))


def test_an_array_that_two_fields_share_comes_back_in_both() -> None:
    shared = np.array([1.0, np.nan])

    one, other = decode(encode((shared, shared[:])))

    assert plain(one) == plain(other) == plain(shared)


def test_what_lies_deep_comes_back() -> None:
    deep: Any = Roll()
    for _ in range(80):
        deep = Prepared(grants=(deep,))

    assert decode(encode(deep)) == deep


class Pair(NamedTuple):
    one: int
    other: int


@dataclass(frozen=True)
class Stranger:
    one: int = 1


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 7, 1, 9, 30, tzinfo=UTC),
        [1, 2],
        {1, 2},
        Pair(1, 2),
        Stranger(),
        clock.State,
        len,
        1j,
        np.array([None, "text"], object),
        np.array([(1, 2.0)], [("one", "<i8"), ("other", "<f8")]),
        np.array(["2024-07-01"], "datetime64[ns]"),
    ],
    ids=repr,
)
def test_what_would_not_come_back_is_refused(value: object) -> None:
    for inside in (value, (1, value), {"key": value}, clock.State(day=value)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is no part of a state"):
            encode(inside)


def test_a_days_rows_are_left_out_to_be_read_again() -> None:
    found = drained(of_cases(some_days("bars")))
    handing: prefetch.State = found.cells[prefetch.NAME].state
    assert handing.rows is not None

    back = decode(encode(handing))

    assert back == dataclasses.replace(handing, rows=None)


# What was damaged never comes back


@pytest.fixture(scope="module")
def of_a_run() -> bytes:
    """All actors' states in the middle of a day's second session."""
    seen: list[bytes] = []

    def look(dispatcher: object, cells: Mapping[str, Any]) -> None:
        states = {name: cell.state for name, cell in cells.items()}
        if isinstance(states["session:Break"], session.Active):
            seen.append(encode(states))

    drained(of_cases(some_days("bars")[:2], clock_step="bar"), inline(), at_step_end=look)
    return seen[len(seen) // 4]


def test_states_of_a_run_cut_short_anywhere_are_refused(of_a_run: bytes) -> None:
    assert {"clock", "day", "breakout"} < decode(of_a_run).keys()

    for length in range(len(of_a_run)):
        with pytest.raises(Undecodable):
            decode(of_a_run[:length])
    with pytest.raises(Undecodable):
        decode(of_a_run + b"\0")


def test_states_of_a_run_with_any_bit_flipped_are_refused(of_a_run: bytes) -> None:
    for place in range(len(of_a_run)):
        for bit in range(8):
            damaged = bytearray(of_a_run)
            damaged[place] ^= 1 << bit
            with pytest.raises(Undecodable):
                decode(bytes(damaged))


def test_a_compressed_state_that_is_damaged_is_refused_sealed_or_not(of_a_run: bytes) -> None:
    kept = encode(decode(of_a_run), compressed=True)
    assert len(kept) < len(of_a_run)
    lied = (b"\xff" * 8, b"\0" * 8, (len(of_a_run) - 3).to_bytes(8, "little"))
    length = slice(5, 13)

    for cut in range(len(kept)):
        with pytest.raises(Undecodable):
            decode(kept[:cut])
        with pytest.raises(Undecodable):
            decode(sealed(kept[4:cut]))
    for claimed in lied:
        body = bytearray(kept)
        body[length] = claimed
        with pytest.raises(Undecodable):
            decode(sealed(bytes(body[4:])))


@given(at=st.integers(min_value=0), noise=st.binary(min_size=1, max_size=40))
def test_states_of_a_run_written_over_are_refused(of_a_run: bytes, at: int, noise: bytes) -> None:
    at %= len(of_a_run)
    damaged = of_a_run[:at] + noise + of_a_run[at + len(noise) :]
    if damaged == of_a_run:
        return

    with pytest.raises(Undecodable):
        decode(damaged)


# What another program wrote


def sealed(content: object) -> bytes:
    """Bytes whose checksum holds."""
    body = content if isinstance(content, bytes) else msgpack.packb(content, use_bin_type=True)
    return crc32(body).to_bytes(4, "big") + body


def test_the_checksum_is_that_of_what_follows(of_a_run: bytes) -> None:
    assert sealed(of_a_run[4:]) == of_a_run


def test_a_newer_programs_states_are_refused_with_what_to_do(of_a_run: bytes) -> None:
    newer = sealed([SCHEMA + 1, ["what", {"it": "may"}, "hold"]])

    with pytest.raises(Undecodable, match=f"schema {SCHEMA + 1}.*use the openbell that wrote it"):
        decode(newer)


@pytest.mark.parametrize("schema", [0, -1, "1", b"1", None, 1.0, True, [1], {"t": 1}])
def test_a_schema_that_there_never_was_is_refused(schema: object) -> None:
    with pytest.raises(Undecodable):
        decode(sealed([schema, None]))


@pytest.mark.parametrize(
    "tag",
    [
        "builtins.eval",
        "os.system",
        "market.days.date",
        "market.days.local_instant",
        "messages.base.Message",
        "messages.control.Message",
        "runtime.record.codec.Undecodable",
        "actors.clock.clock",
        "actors.clock.",
        "",
        7,
    ],
)
def test_only_what_states_consist_of_is_made(tag: object) -> None:
    with pytest.raises(Undecodable):
        decode(sealed([SCHEMA, {"t": [tag, {}]}]))


@pytest.mark.parametrize(
    "fields",
    [
        {"step": 1, "nothing_known": 2},
        {7: 1},
        [["step", 1]],
        None,
    ],
)
def test_fields_that_this_program_does_not_know_are_refused(fields: object) -> None:
    with pytest.raises(Undecodable):
        decode(sealed([SCHEMA, {"t": ["actors.clock.State", fields]}]))


def test_a_field_that_is_lacking_has_its_default() -> None:
    assert decode(sealed([SCHEMA, {"t": ["actors.clock.State", {"step": 3}]}])) == clock.State(3)
    with pytest.raises(Undecodable):
        decode(sealed([SCHEMA, {"t": ["messages.control.Pause", {}]}]))


@pytest.mark.parametrize(
    "array",
    [
        ["<f8", [2], b"\0" * 8],
        ["<f8", [2**40], b""],
        ["<f8", [-1], b"\0" * 16],
        ["<f8", [], b""],
        ["<f8", [1.0], b"\0" * 8],
        ["<f8", [1], "\0" * 8],
        ["<f9", [1], b"\0" * 8],
        ["|O", [1], b"\0" * 8],
        ["O", [1], b"\0" * 8],
        ["|V8", [1], b"\0" * 8],
        ["|V0", [1], b""],
        ["<f8", [1]],
        [None, [1], b"\0" * 8],
        [["<f8"], [1], b"\0" * 8],
    ],
)
def test_arrays_that_can_not_be_are_refused(array: object) -> None:
    with pytest.raises(Undecodable):
        decode(sealed([SCHEMA, {"a": array}]))


PACKED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from(["a", "d", "s", "m", "t", "<f8", "|O", "2024-07-01", "messages.time.Reached"])
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("adsmtx") | st.integers(0, 1), inner, max_size=2)
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(content=PACKED | st.tuples(st.just(SCHEMA), PACKED) | st.binary())
def test_whatever_a_store_holds_it_is_a_state_or_refused(content: object) -> None:
    for data in (sealed(content), content):
        if isinstance(data, bytes):
            assert len(refusal(data).splitlines()) <= 1


@given(at=st.integers(min_value=0), byte=st.integers(0, 255))
def test_sealed_damage_is_a_state_or_refused(of_a_run: bytes, at: int, byte: int) -> None:
    body = bytearray(of_a_run[4:])
    body[at % len(body)] = byte

    assert len(refusal(sealed(bytes(body))).splitlines()) <= 1


def refusal(data: bytes) -> str:
    """Why it is no state; empty where it is one."""
    try:
        decode(data)
    except Undecodable as error:
        return str(error)
    return ""


WRITTEN = bytes.fromhex(
    "f0308476920181a16d9292a5636c6f636b81a17492b26163746f72732e636c6f636b2e5374617465de0010a4"
    "7374657007a66e6f775f6e73cf4000000000000000a76177616974656481a17390a364617981a17492b66d61"
    "726b65742e646179732e54726164696e6744617986a46461746581a164aa323032342d30372d3031a2747ab0"
    "416d65726963612f4e65775f596f726ba87365676d656e74739181a17492b36d61726b65742e646179732e53"
    "65676d656e7482a76f70656e5f6e730aa8636c6f73655f6e7314a46b696e64a7726567756c6172a56c617965"
    "72a0a6726561736f6ea2c3a9ac6c6976655f66726f6d5f6e7300a66167656e646190a86177616b655f6e7300"
    "a861736b65645f6e7300a6746f6b656e7381a17392a161a162ad73746570735f616c6c6f77656400a6696e70"
    "75747390a86177616974696e67c0a777616974696e67c2a5656e646564c0a76772616e746564c0a561676169"
    "6e9092a973657373696f6e3a4181a17492b66163746f72732e73657373696f6e2e50656e64696e6782a77379"
    "6d626f6c7392a141a142a677696e646f7781a17492b56d61726b65742e77696e646f77732e57696e646f7784"
    "a873746172745f6e730aa6656e645f6e730fa5736c6f747381a16193a33c69389102c4100a00000000000000"
    "0c00000000000000a97472756e6361746564c0"
)
"""What `KEPT` gave when schema 1 was made: state on disk outlives the program."""

DAY = TradingDay(date(2024, 7, 1), "America/New_York", (Segment(10, 20),), reason="é")
KEPT = {
    "clock": clock.State(step=7, now_ns=MarketTime(2**62), tokens=frozenset({"b", "a"}), day=DAY),
    "session:A": session.Pending(
        ("A", "B"), Window(MarketTime(10), MarketTime(15), np.array([10, 12]), None)
    ),
}


def test_what_was_written_once_is_read_for_good() -> None:
    assert plain(decode(WRITTEN)) == plain(KEPT)
