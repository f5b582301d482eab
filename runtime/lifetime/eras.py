"""Under which configuration, and for which symbols, each trading day was run.

State may outlive the configuration that it was begun with. Keys that change no answer may be
others at every start. Symbols that were added count from the next trading day on: the one under way
was opened without them. For any other change a day has to be begun anew, which `run --fresh-day`
does: its steps so far stay in the step log, and nothing goes on from them any more. Days that the
data has got since a run ended are begun in the same way, with nothing to give up.

An era is a stretch of days with one configuration and one register of symbols.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from openbell.adapters.stores import Head
from openbell.errors import ConfigError, way_out
from openbell.market.instruments import NO_CONTRACTS, Contracts
from openbell.runtime.config import Config
from openbell.runtime.intake.planning import Plan
from openbell.runtime.record.recorded import Stretch

_FRESH_DAY = ("have `openbell run --fresh-day` begin", "pass fresh_day=True to begin")

KEY = "eras"
"""Of the store's meta."""


@dataclass(frozen=True, slots=True)
class Era:
    """From a trading day on, until the next era's."""

    since: date
    config: Mapping[str, Any]
    """The keys that determine the answers."""
    symbols: tuple[str, ...]
    """The register: what is followed, and companions."""
    step: int | None = None
    """The step with which its first day is begun anew; None: that day just follows."""
    base: int = 0
    """The first step of which a snapshot holds all that earlier days brought to that day."""
    contracts: Contracts = NO_CONTRACTS
    """What instruments said for its days when it was begun."""

    @property
    def followed(self) -> tuple[str, ...]:
        """Those of the register whose breakouts are reported: a companion is only read."""
        return _followed(self.config, self.symbols)

    def companions_on(self, day: date) -> dict[str, str]:
        """Each symbol's companion on one of its days."""
        return dict(self.contracts.companions_on(day)) or _paired(self.config)

    def refused(
        self,
        config: Mapping[str, Any],
        symbols: tuple[str, ...],
        removed: Collection[str] = (),
    ) -> list[str]:
        """What of a configuration can't be taken into the day under way or the next, in words.

        Parameters
        ----------
        removed : collection of str
            Symbols that were taken from the run while it went on: they may be lacking.
        """
        said = self.differs(config)
        # A contract that has expired is in no vendor's file any more.
        there = {*symbols, *self.contracts.only, *removed}
        lacking = [symbol for symbol in self.symbols if symbol not in there]
        if lacking or not set(self.followed) <= {*_followed(config, symbols), *removed}:
            key = self.config["symbols"], config["symbols"]
            said += differences({"symbols": key[0]}, {"symbols": key[1]}) or [
                f"the data had {', '.join(lacking[:5])}, and has it no more"
            ]
        return said

    def changes(
        self, config: Mapping[str, Any], symbols: tuple[str, ...], contracts: Contracts
    ) -> str:
        """All that is another, but for contracts that come and go by their expiries."""
        followed = _followed(config, symbols)
        come_and_go = {*self.contracts.only, *contracts.only}.difference(self.followed, followed)
        was = (*self.followed, *(of for of in self.symbols if of not in come_and_go))
        now = (*followed, *(of for of in symbols if of not in come_and_go))
        counts = Counter(was), Counter(now)
        came = [f"symbol {s} was added" for s in sorted(counts[1] - counts[0])]
        went = [f"symbol {s} was taken away" for s in sorted(counts[0] - counts[1])]
        return "; ".join([*self.differs(config), *_some(came), *_some(went)])

    def digest(self) -> str:
        """Names what its days are made of."""
        kept: list[Any] = [{**self.config, "symbols": self.symbols}]
        if set(self.followed) != set(self.symbols):
            kept.append(sorted(self.followed))
        if self.contracts != NO_CONTRACTS:
            kept.append(written_contracts(self.contracts.from_day(self.since)))
        text = json.dumps(kept, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def differs(self, config: Mapping[str, Any]) -> list[str]:
        """What of a configuration is another, but for symbols, in words."""
        return differences({**self.config, "symbols": None}, {**config, "symbols": None})


def first_era(config: Config, plan: Plan) -> Era:
    """Of state that is begun."""
    contracts = plan.settings.contracts
    return Era(date.min, config.determining(), plan.symbols, contracts=contracts)


def eras_of(head: Head, symbols: tuple[str, ...]) -> tuple[Era, ...]:
    """The eras of state, oldest first; none where nothing was run.

    Parameters
    ----------
    symbols : tuple of str
        The register by the data there is: the one of state that was begun before registers were
        kept, if it was for all symbols.
    """
    if KEY in head.meta:
        return tuple(_read(fields) for fields in json.loads(head.meta[KEY]))
    if not head.step:
        return ()
    config = json.loads(head.meta["config"])
    if config["symbols"] != "all":
        symbols = tuple(sorted({*config["symbols"], *_paired(config).values()}))
    return (Era(date.min, config, symbols),)


def written(eras: Sequence[Era]) -> bytes:
    fields = [
        {
            "since": era.since.isoformat(),
            "config": era.config,
            "symbols": era.symbols,
            "step": era.step,
            "base": era.base,
            **(
                {}
                if era.contracts == NO_CONTRACTS
                else {"contracts": written_contracts(era.contracts)}
            ),
        }
        for era in eras
    ]
    return json.dumps(fields, sort_keys=True).encode()


def era_on(eras: Sequence[Era], day: date) -> Era:
    """The one that a trading day belongs to."""
    return [eras[0], *(era for era in eras if era.since <= day)][-1]


def era_at(eras: Sequence[Era], step: int) -> Era | None:
    """The last one that was begun anew with a step up to this one."""
    begun = [era for era in eras if era.step is not None and era.step <= step]
    return begun[-1] if begun else None


def begun(eras: Sequence[Era], last: date) -> tuple[Era, ...]:
    """Those that hold: one that was only to follow on the last day's may still be another."""
    return tuple(era for era in eras if era.step is not None or era.since <= last)


def given_up(eras: Sequence[Era], step: int, day: date) -> bool:
    """Whether a step of a day is one that was left behind when the day was begun anew."""
    return any(step < (era.step or 0) and day >= era.since for era in eras)


def counted(days: Sequence[Stretch], eras: Sequence[Era]) -> tuple[Stretch, ...]:
    """The days of a step log, each without the steps that were given up."""
    kept = []
    for of in days:
        anew = (era.step or 0 for era in eras if of.trading_date >= era.since)
        first = max(of.first, *anew, 0)
        if first <= of.last:
            kept.append(Stretch(of.trading_date, first, of.last))
    return tuple(kept)


def plan_over(planned: Plan, eras: Sequence[Era]) -> Plan:
    """A plan whose days have the symbols of their eras."""
    contracts = _contracts_over(eras)
    return replace(
        planned,
        registers=_registers(planned, eras),
        settings=replace(
            planned.settings,
            followed=tuple((era.since, era.followed) for era in eras),
            contracts=contracts,
        ),
        trailing=replace(planned.trailing, turns=contracts.turns),
    )


def _registers(planned: Plan, eras: Sequence[Era]) -> tuple[tuple[date, tuple[str, ...]], ...]:
    found: list[tuple[date, tuple[str, ...]]] = []
    ends = (*(era.since for era in eras[1:]), date.max)
    for era, end in zip(eras, ends, strict=True):
        found.append((era.since, era.symbols))
        if not planned.settings.fed:  # a feed's rows are all on one register
            of_era = era.contracts.from_day(era.since).registers(era.symbols)
            found += [of for of in of_era if of[0] < end]
    return tuple(found)


def _contracts_over(eras: Sequence[Era]) -> Contracts:
    """What instruments said for each day in the era that it belongs to."""
    if all(era.contracts == NO_CONTRACTS for era in eras):
        return NO_CONTRACTS
    companions: list[tuple[date, tuple[tuple[str, str], ...]]] = []
    ticks: list[tuple[date, tuple[tuple[str, float], ...]]] = []
    turns: dict[str, set[date]] = {}
    ends = (*(era.since for era in eras[1:]), date.max)
    for place, (era, end) in enumerate(zip(eras, ends, strict=True)):
        of_era = era.contracts.from_day(era.since)
        static = ((era.since, tuple(_paired(era.config).items())),)
        companions += [of for of in of_era.companions or static if of[0] < end]
        ticks += [of for of in of_era.ticks or ((era.since, ()),) if of[0] < end]
        for symbol, dates in of_era.turns:
            own = {of for of in dates if (of >= era.since or not place) and of < end}
            turns.setdefault(symbol, set()).update(own)
    of_symbols = ((symbol, tuple(sorted(dates))) for symbol, dates in sorted(turns.items()))
    return Contracts(tuple(companions), tuple(ticks), tuple(of for of in of_symbols if of[1]))


def going_on(
    eras: Sequence[Era],
    config: Config,
    plan: Plan,
    last: date,
    removed: Collection[str] = (),
) -> tuple[Era, ...]:
    """The eras with which a run goes on under a configuration.

    Parameters
    ----------
    plan : Plan
        What would be run if nothing had been yet.
    last : date
        The last trading day that has a step.
    removed : collection of str
        Symbols that were taken from the run while it went on.

    Raises
    ------
    ConfigError
        If it would give other answers; the text names each key that differs, with both values.
    """
    held = begun(eras, last)
    determining, symbols = config.determining(), plan.symbols
    # What had been added, and went again, is among those that follow only by not being there.
    was, now = held[-1], eras[-1]
    went = set(was.symbols).difference(now.symbols) | set(was.followed).difference(now.followed)
    if refused := held[-1].refused(determining, symbols, {*removed, *went}):
        raise ConfigError(
            f"the state of {config.name!r} was made with another configuration: "
            f"{'; '.join(refused)}; go on with the old one, or {way_out(*_FRESH_DAY)} the day under "
            "way anew with this one"
        )
    contracts = plan.settings.contracts
    changes = held[-1].changes(determining, symbols, contracts)
    if not changes and not other_contracts(held[-1], plan, last):
        return held
    since = last + timedelta(days=1)
    return (*held, Era(since, determining, symbols, contracts=contracts))


def other_contracts(era: Era, plan: Plan, last: date) -> str:
    """What instruments say by now of the days after one that they did not say before, in words.

    The days of the plan alone count: further ones come with time.
    """
    days = [day.date for day in plan.days if day.date > last]
    if not days:
        return ""
    was, now = era.contracts, plan.settings.contracts
    for day in days:
        before, after = dict(was.companions_on(day)), dict(now.companions_on(day))
        if not now.companions and not was.companions:
            break
        for of in sorted(before.keys() | after.keys()):
            if before.get(of) != after.get(of):
                return f"from {day} on {after.get(of, 'no contract')} goes with {of}"
    for day in days:
        if was.ticks_on(day) != now.ticks_on(day):
            return f"tick sizes are others from {day} on"
    if was.turns != now.turns:
        return "contracts follow each other on other days"
    if not plan.settings.fed:  # what is stored is read on the days that need it
        return ""
    come, went = sorted({*now.only} - {*era.symbols}), sorted({*was.only} - {*now.only})
    said = [f"{of} is read, as a companion of the next days" for of in come]
    return "; ".join([*said, *(f"{of} is not read any more" for of in went)])


def kept(eras: Sequence[Era], first: date) -> tuple[Era, ...]:
    """Without those of which no day is in the step log any more."""
    return tuple(eras[eras.index(era_on(eras, first)) :])


def check_configuration(config: Config, era: Era, day: date) -> None:
    """Refuse a configuration under which a recorded day would come to something else.

    Raises
    ------
    ConfigError
        Naming each key that differs, with both values.
    """
    # Not symbols: a day is replayed with those of its era.
    if changes := "; ".join(era.differs(config.determining())):
        raise ConfigError(
            f"{day} was run with another configuration: {changes}; "
            f"{way_out('name that one with --config', 'pass that one')}"
        )


def differences(was: Any, now: Any, key: str = "") -> list[str]:
    """Each key that differs, with both values."""
    return list(_differences(was, now, key))


def _differences(was: Any, now: Any, key: str) -> Iterator[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in sorted(was.keys() | now.keys()):
            below = f"{key}.{name}" if key else name
            yield from _differences(was.get(name), now.get(name), below)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for place, (before, after) in enumerate(zip(was, now, strict=True)):
            yield from _differences(before, after, f"{key}[{place}]")
    elif (of_was := _by_name(was)) is not None and (of_now := _by_name(now)) is not None:
        for name in (name for name in of_was if name not in of_now):
            yield f"{key}: {name} was taken away"
        for name in (name for name in of_now if name not in of_was):
            yield f"{key}: {name} was added"
        for name in (name for name in of_was if name in of_now):
            yield from _differences(of_was[name], of_now[name], f"{key}[{name}]")
    elif was != now:
        yield f"{key} was {json.dumps(was)}, is {json.dumps(now)}"


def _followed(config: Mapping[str, Any], symbols: tuple[str, ...]) -> tuple[str, ...]:
    return symbols if config["symbols"] == "all" else tuple(config["symbols"])


def _by_name(items: Any) -> dict[str, Any] | None:
    """Items of a list that have names, such as sessions."""
    if not isinstance(items, list) or not all(
        isinstance(i, Mapping) and "name" in i for i in items
    ):
        return None
    return {item["name"]: item for item in items}


def _some(said: list[str]) -> list[str]:
    return said if len(said) <= 5 else [*said[:5], f"{len(said) - 5} more"]


def _read(fields: dict[str, Any]) -> Era:
    return Era(
        date.fromisoformat(fields["since"]),
        fields["config"],
        tuple(fields["symbols"]),
        fields["step"],
        fields["base"],
        read_contracts(fields.get("contracts")),
    )


def _paired(config: Mapping[str, Any]) -> dict[str, str]:
    """Companions that are the same on all days."""
    return {of: name for of, name in config["companions"].items() if isinstance(name, str)}


def written_contracts(of: Contracts) -> dict[str, Any]:
    return {
        "companions": [[day.isoformat(), pairs] for day, pairs in of.companions],
        "ticks": [[day.isoformat(), sizes] for day, sizes in of.ticks],
        "turns": [[symbol, [day.isoformat() for day in dates]] for symbol, dates in of.turns],
        "only": of.only,
    }


def read_contracts(fields: Mapping[str, Any] | None) -> Contracts:
    if fields is None:
        return NO_CONTRACTS
    return Contracts(
        tuple((_date(day), tuple(map(tuple, pairs))) for day, pairs in fields["companions"]),
        tuple((_date(day), tuple(map(tuple, sizes))) for day, sizes in fields["ticks"]),
        tuple((symbol, tuple(map(_date, dates))) for symbol, dates in fields["turns"]),
        tuple(fields["only"]),
    )


_date = date.fromisoformat
