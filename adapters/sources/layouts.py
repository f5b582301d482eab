"""Which symbol each file of a folder belongs to, where the files don't say it themselves.

What `data.files` says, hive keys (`symbol=AAPL/`), or else a guess from the paths. The guess is
made once for all files together, since what a name is shows by its neighbours: `2024` is a year
beside `2023`, and a company beside `7203`. It never takes two instruments for one, nor a day for a
symbol: where that could be, it is refused with what to write. What was guessed is said.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from typing import NoReturn
from urllib.parse import unquote

from openbell.adapters.sources.names import Span, numbered_date, spanned, taken_apart, words
from openbell.adapters.sources.patterns import PathPattern, matching, path_pattern
from openbell.errors import DataError
from openbell.market.days import SECOND_NS

SYMBOL_KEYS = ("symbol", "ticker", "sym", "instrument", "tradingsymbol", "pair", "code", "security")
"""Hive keys that mean a symbol, whatever their case."""
_PASSED_KEYS = words(
    "date day dt d ts time trading_date trade_date tradedate year y month m quarter week hour "
    "minute bucket part partition chunk shard batch split"
)
"""Hive keys that tell no instruments apart."""
_CONTEXT_KEYS = words(
    "exchange market venue mic source provider vendor sector asset_class assetclass class type "
    "kind currency country region interval timeframe freq frequency resolution period "
    "adjustment adjusted version schema feed"
)
"""Hive keys that are no symbol's, but may tell two instruments of one name apart."""
_HIVE = re.compile(r"([A-Za-z_]\w*)=(.*)")
_NULL = "__HIVE_DEFAULT_PARTITION__"
_TICKER = re.compile(r"[A-Z0-9^$][A-Z0-9.&=^$-]*")
_COPY = re.compile(r" \(\d+\)$|[ _-]+copy(?: ?\(?\d+\)?)?$", re.IGNORECASE)
"""What a second download or a copy of a file has at the end of its name."""
_NEAR = timedelta(hours=38)
"""What a file of one day may hold beyond its midnights: its zone's offset, and the evening before."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a file's path says of its rows."""

    symbol: str
    pattern: str
    """The path as a pattern."""
    dated: tuple[Span, ...] = ()
    """The days it speaks of, in each way that it can be read; none: nothing to compare."""
    date_of_name: str | None = None
    """The path as a pattern in which the date belongs to the symbol; None: it can't."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A folder of a path, or the file's name without its suffix."""

    column: str
    """Parts of several paths that stand at the same place have the same."""
    text: str
    rest: str
    pattern: str
    words: tuple[str, ...] = ()
    dated: tuple[Span, ...] = ()
    key: str | None = None
    """A hive key."""


class Layout:
    """The paths of a folder's files, and the symbols in them.

    Parameters
    ----------
    root : str
        The folder, for messages.
    paths : sequence
        The files below it, with `/` between names.
    suffixes : sequence
        Those that files may have, to be left off their names.
    patterns : sequence
        What `data.files` says.
    key : str
        The hive key of the symbol, as `data.columns` has it.
    empty : sequence
        Further files, without a byte in them.
    """

    def __init__(
        self,
        root: str,
        paths: Sequence[str],
        suffixes: Sequence[str],
        patterns: Sequence[str] = (),
        key: str = "symbol",
        empty: Sequence[str] = (),
    ) -> None:
        self._root = root
        self._empty = empty
        self._suffixes = sorted(suffixes, key=len, reverse=True)
        self._key = key
        self._patterns = [path_pattern(text) for text in patterns]
        self._matched: Mapping[str, PathPattern] = {}
        self.paths = tuple(paths)
        """The files to read."""
        self.passed_over = 0
        """How many others there are."""
        self._asked: set[str] = set()
        if self._patterns:
            self._matched = matching(self._patterns, paths)
            if not self._matched:
                raise DataError(
                    f"{root}: no file matches data.files, {_quoted(patterns)}; there are "
                    f"{_some(paths)}"
                )
            self.paths = tuple(self._matched)
            self.passed_over = len(paths) - len(self.paths)

    def symbol(self, path: str) -> str:
        """What all rows of a file belong to.

        Raises
        ------
        openbell.errors.DataError
            If that can't be told; the text has the pattern to write.
        """
        pattern = self._matched.get(path)
        said = pattern.symbol(path) if pattern is not None else None
        if said is not None:
            return said
        self._asked.add(path)
        return self._places[path].symbol

    def check_days(self, path: str, first_ns: int, last_ns: int) -> None:
        """Hold the days that a guess found in a path against the file's rows (ns UTC).

        Raises
        ------
        openbell.errors.DataError
            If they are other days: what looks like a date may then be part of the symbol.
        """
        if not self.is_dated(path):
            return
        place = self._places[path]
        first, last = (_moment(ns) for ns in (first_ns, last_ns))
        for start, end in place.dated:
            begins = datetime.combine(start, time(), UTC) - _NEAR
            ends = datetime.combine(end, time(), UTC) + timedelta(days=1) + _NEAR
            if begins <= first and last <= ends:
                return
        start, end = place.dated[0]
        days = f"{start}" if start == end else f"{start} to {end}"
        otherwise = _with_anything(place.pattern)
        advice = f'write data.files: "{otherwise}" if {place.symbol} is the symbol'
        if place.date_of_name is not None:
            advice += f', or data.files: "{place.date_of_name}" if the date is part of it'
        raise DataError(
            f"{self._root}/{path}: no symbol column, and its path speaks of {days}, but its rows "
            f"are from {first.date()} to {last.date()}; {advice}"
        )

    def is_dated(self, path: str) -> bool:
        """Whether `check_days` has something to compare."""
        return path in self._asked and bool(self._places[path].dated)

    def notes(self) -> tuple[str, ...]:
        """What was guessed or passed over, for people; after all files have been asked for."""
        said = []
        if self._asked and not self._said_by_key:
            places = [self._places[path] for path in self.paths if path in self._asked]
            patterns = [text for text, _ in Counter(p.pattern for p in places).most_common(4)]
            of = len({place.symbol for place in places})
            said.append(
                f"{self._root}: the symbols are taken from the paths, as with data.files: "
                f"{_quoted(patterns)} ({of:,} symbol{'' if of == 1 else 's'}: "
                f"{_some(sorted({p.symbol for p in places}), 4)})"
            )
        if self._empty:
            said.append(
                f"{self._root}: {_counted(len(self._empty))} empty and passed over: "
                f"{_some(self._empty)}"
            )
        if self.passed_over:
            said.append(
                f"{self._root}: {_counted(self.passed_over)} not matched by data.files and passed "
                "over"
            )
        if twice := self._twice():
            suffix = self._split(twice[0])[2]
            said.append(
                f"{self._root}: {twice[0]} and {twice[1]} have one name; if they hold the same rows, "
                f'write data.files: "**/*{suffix}" to read them once'
            )
        if copied := self._copied():
            said.append(
                f"{self._root}: {copied[1]} looks like a copy of {copied[0]}, and is taken as another "
                "symbol; take one of them away if they are one"
            )
        return tuple(said)

    def _copied(self) -> tuple[str, str] | None:
        """Two files whose guessed symbols differ only by what a browser or a desktop adds."""
        of = {self._places[path].symbol: path for path in self.paths if path in self._asked}
        for symbol, path in of.items():
            original = of.get(_COPY.sub("", symbol))
            if original is not None and original != path:
                return original, path
        return None

    @property
    def has_guessed(self) -> bool:
        """Whether a file's symbol was taken from its path without a pattern that says so."""
        return bool(self._asked)

    def guessed_patterns(self) -> tuple[str, ...]:
        """What `data.files` would have to say for the same symbols, after all files have been asked
        for; empty where nothing was guessed, no few patterns say it, or dates that were taken off
        are still to be held against the rows, which is only done for a guess."""
        if any(self.is_dated(path) for path in self._asked):
            return ()
        places = {path: self._places[path] for path in self.paths if path in self._asked}
        texts = tuple(
            text for text, _ in Counter(p.pattern for p in places.values()).most_common(4)
        )
        said = matching([path_pattern(text) for text in texts], self.paths)
        same = len(places) == len(self.paths) == len(said) and all(
            said[path].symbol(path) == place.symbol for path, place in places.items()
        )
        return texts if same else ()

    def _twice(self) -> tuple[str, str] | None:
        """Two files that differ in their suffix only."""
        seen: dict[tuple[str, ...], str] = {}
        for path in self.paths:
            folders, stem, _ = self._split(path)
            other = seen.setdefault((*folders, stem), path)
            if other != path:
                return other, path
        return None

    @cached_property
    def _said_by_key(self) -> bool:
        return all(f"{self._key}=" in path for path in self._asked)

    @cached_property
    def _places(self) -> dict[str, Place]:
        return _Guess(self._root, self.paths, self._split, self._key).places()

    def _split(self, path: str) -> tuple[list[str], str, str]:
        """Folders, name and suffix."""
        *folders, name = path.split("/")
        suffix = next((s for s in self._suffixes if name.lower().endswith(s)), "")
        end = len(name) - len(suffix)
        return folders, name[:end], name[end:]


_Split = Callable[[str], tuple[list[str], str, str]]


class _Guess:
    """What the paths of files that say no symbol come to, all together."""

    def __init__(self, root: str, paths: Sequence[str], split: _Split, key: str) -> None:
        self._root = root
        self._paths = paths
        self._pieces = {path: split(path) for path in paths}
        self._suffix = {path: of[2] for path, of in self._pieces.items()}
        self._key = key
        self._parts = self._parsed()

    def places(self) -> dict[str, Place]:
        """Of every path, or a refusal."""
        hive = self._hive_column()
        column = hive if hive is not None else self._plain_column()
        self._refuse_two_of_a_name(column)
        files = Counter(self._at(path, column).rest for path in self._paths)
        return {path: self._place(path, column, files) for path in self._paths}

    def _place(self, path: str, column: str, files: Mapping[str, int]) -> Place:
        part = self._at(path, column)
        dated = next((p.dated for p in reversed(self._parts[path]) if p.dated), ())
        if part.key is not None or (files[part.rest] == 1 and not part.dated):
            dated = ()
        whole = self._pattern(path, column, name="{symbol}") if part.dated else None
        return Place(part.rest, self._pattern(path, column), dated, whole)

    # Parsing

    def _parsed(self) -> dict[str, list[_Part]]:
        columns: dict[str, set[str]] = defaultdict(set)
        for path in self._paths:
            for column, text in self._columns(path):
                columns[column].add(text)
        numbers = {c: self._are_dates(c, texts) for c, texts in columns.items()}
        hive = {c: _hive_key(texts) for c, texts in columns.items()}
        parsed = {path: list(self._parse(path, hive, numbers)) for path in self._paths}
        named = {p.column for parts in parsed.values() for p in parts if p.rest and p.key is None}
        return {
            path: [_restored(part) if part.column in named else part for part in parts]
            for path, parts in parsed.items()
        }

    def _columns(self, path: str) -> Iterator[tuple[str, str]]:
        folders, stem, _ = self._pieces[path]
        for depth, text in enumerate(folders):
            yield f"folder {depth}", text
        yield "name", stem

    def _are_dates(self, column: str, texts: set[str]) -> bool:
        """Whether names of nothing but digits are dates: all at one place of the paths, or none."""
        digits = [text for text in texts if text.isdigit()]
        if any(len(text) > 2 and not taken_apart(text).is_date for text in digits):
            return False
        short = len(digits) == 1 and len(digits[0]) == 6 and not digits[0].startswith(("19", "20"))
        return not short and self._continue_dates(column)

    def _continue_dates(self, column: str) -> bool:
        """Whether all names of one or two digits go on with a date of the folders above."""
        for path in self._paths:
            before: tuple[int, ...] = ()
            for place, text in self._columns(path):
                further = numbered_date(text, before)
                if place == column and text.isdigit() and len(text) <= 2 and further is None:
                    return False
                before = further if further is not None else _begun(text)
        return True

    def _parse(
        self, path: str, hive: Mapping[str, str | None], numbers: Mapping[str, bool]
    ) -> Iterator[_Part]:
        before: tuple[int, ...] = ()
        for column, text in self._columns(path):
            key = hive[column]
            found = _HIVE.fullmatch(text) if key is not None else None
            if found is not None:
                yield _Part(f"{key}=", text, unquote(found[2]), f"{found[1]}={{symbol}}", key=key)
                continue
            further = numbered_date(text, before) if numbers[column] else None
            if further is not None:
                before = further
                yield _Part(
                    column, text, "", _NUMBERED.get(len(before), "{date}"), dated=(spanned(before),)
                )
                continue
            before = _begun(text) if numbers[column] else ()
            if text.isdigit() and not numbers[column]:
                yield _Part(column, text, text, "{symbol}")
                continue
            name = taken_apart(text)
            pattern = "{year}" if before and column != "name" else name.pattern
            yield _Part(column, text, name.rest, pattern, name.words, name.spans)

    def _at(self, path: str, column: str) -> _Part:
        return next(part for part in self._parts[path] if part.column == column)

    # Choosing

    def _hive_column(self) -> str | None:
        keys = {path: {p.key for p in parts if p.key} for path, parts in self._parts.items()}
        every = set().union(*keys.values()) if keys else set()
        wanted = [k for k in every if k == self._key] or [
            k for k in every if k.lower() in SYMBOL_KEYS
        ]
        if not wanted:
            return None
        key = min(wanted, key=lambda k: SYMBOL_KEYS.index(k.lower()) if k != self._key else -1)
        outside = next((path for path in self._paths if key not in keys[path]), None)
        if outside is not None:
            raise DataError(
                f"{self._root}: {outside} has no symbol column and lies in no folder {key}=…; "
                f"put it into one, or leave it out with data.files: "
                f'"**/{key}={{symbol}}/**"'
            )
        for path in self._paths:
            if self._at(path, f"{key}=").rest in ("", _NULL):
                raise DataError(
                    f"{self._root}/{path}: its rows have no symbol; write the files again with "
                    "one, or take this one out"
                )
        return f"{key}="

    def _plain_column(self) -> str:
        unknown = {
            part.key
            for parts in self._parts.values()
            for part in parts
            if part.key is not None and part.key.lower() not in _PASSED_KEYS | _CONTEXT_KEYS
        }
        named = [path for path in self._paths if self._at(path, "name").rest]
        folders = self._folder_columns()
        if unknown:
            self._refuse(
                f"no symbol column, and the folders' key {min(unknown)} could be the symbol",
                [*(f"{key}=" for key in sorted(unknown)), *(["name"] if named else [])],
            )
        if 0 < len(named) < len(self._paths):
            other = next(path for path in self._paths if path not in named)
            self._refuse(
                f"no symbol column, and {named[0]} could have its symbol in its name, {other} not",
                [*folders, "name"],
            )
        if not named:
            return self._of_folders(folders)
        repeated = self._repeated(folders)
        if repeated is not None:
            return repeated
        for column in folders:
            values = self._values(column)
            if all(map(_TICKER.fullmatch, values)) and not all(
                map(_TICKER.fullmatch, self._values("name"))
            ):
                self._refuse(
                    f"no symbol column, and both {_some(sorted(values), 2)} and "
                    f"{_some(sorted(self._values('name')), 2)} could be symbols",
                    [column, "name"],
                )
        return "name"

    def _of_folders(self, folders: list[str]) -> str:
        if not folders:
            example = self._paths[0]
            dated = any(part.dated for part in self._parts[example])
            what = "look like dates" if dated else "say no symbol"
            name = self._root.rstrip("/").rpartition("/")[2]
            symbol = name if _TICKER.fullmatch(name) else "AAPL"
            raise DataError(
                f"{self._root}: no symbol column, and the names of the files {what}, such as "
                f"{example}; if all are of one symbol, write data.symbol: {symbol}"
            )
        if len(folders) == 1:
            return folders[0]
        tickers = [c for c in folders if all(map(_TICKER.fullmatch, self._values(c)))]
        if len(tickers) == 1:
            return tickers[0]
        self._refuse(
            "no symbol column, and several folders of a path could be the symbol", folders[::-1]
        )

    def _folder_columns(self) -> list[str]:
        """Folders that could be symbols: every path has one there, and it says something."""
        held = [{p.column for p in parts if p.rest} for parts in self._parts.values()]
        common = set.intersection(*held) if held else set()
        return sorted(column for column in common if column.startswith("folder"))

    def _repeated(self, folders: list[str]) -> str | None:
        """A folder whose name each of its files' names begins with, as in `AAPL/AAPL_1.csv`."""
        for column in folders:
            pairs = [(self._at(p, column).rest, self._at(p, "name").rest) for p in self._paths]
            if all(re.match(rf"{re.escape(a)}(?![A-Za-z0-9])", b, re.IGNORECASE) for a, b in pairs):
                return column
        return None

    def _values(self, column: str) -> set[str]:
        return {self._at(path, column).rest for path in self._paths}

    def _refuse_two_of_a_name(self, column: str) -> None:
        """Files of one symbol must not differ in anything but dates and counters."""
        contexts: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
        for path in self._paths:
            symbol = self._at(path, column).rest
            contexts[symbol].setdefault(tuple(self._context(path, column)), path)
        for symbol, found in contexts.items():
            if len(found) == 1:
                continue
            one, other = list(found.values())[:2]
            self._refuse(
                f"no symbol column, and {one} and {other} could be two instruments, or one, "
                f"{symbol}",
                self._differing(column, one, other),
                narrowed=column,
            )

    def _context(self, path: str, column: str) -> Iterator[str]:
        symbol = self._at(path, column).rest
        for part in self._parts[path]:
            if part.key is not None and part.key.lower() in _PASSED_KEYS:
                continue
            named = part.column == "name" and part.rest.lower().startswith(symbol.lower())
            if part.column == column or named:
                yield from (word.lower() for word in part.words)
            elif part.rest.lower() != symbol.lower():
                yield f"{part.rest} {' '.join(part.words).lower()}"

    def _differing(self, column: str, one: str, other: str) -> list[str]:
        """Other places that could hold the symbol, the ones in which two paths differ first."""
        other_parts = {part.column: part.rest for part in self._parts[other]}
        return [
            part.column
            for part in self._parts[one]
            if part.rest
            and part.column != column
            and other_parts.get(part.column) not in (part.rest, None, "")
        ]

    # Telling

    def _refuse(self, why: str, columns: Sequence[str], narrowed: str | None = None) -> NoReturn:
        offers: dict[str, None] = {}
        for column in columns:
            path = next(
                (
                    p
                    for p in self._paths
                    if any(q.column == column and q.rest for q in self._parts[p])
                ),
                None,
            )
            if path is not None:
                offers[self._pattern(path, column, any_name=True)] = None
        if narrowed is not None:
            for path in self._paths[:1]:
                offers[self._pattern(path, narrowed)] = None
        told = [self._offer(text) for text in list(offers)[:3]]
        raise DataError(
            f"{self._root}: {why}; say where the symbol stands in the paths, {' or '.join(told)}"
        )

    def _offer(self, text: str) -> str:
        pattern = path_pattern(text)
        symbols = sorted({s for path in self._paths if (s := pattern.symbol(path)) is not None})
        return f'data.files: "{text}" (reads {_some(symbols, 3)})'

    def _pattern(
        self, path: str, column: str, *, name: str | None = None, any_name: bool = False
    ) -> str:
        """A path as a pattern with the symbol at one place.

        `name` stands for the whole of that part; with `any_name`, so does `*` for file names that
        say more than a date.
        """
        written = []
        for part in self._parts[path]:
            if part.column == column:
                written.append(name or part.pattern)
                continue
            pattern = part.pattern
            if "{symbol}" in pattern and part.rest != self._at(path, column).rest:
                constant = len({self._texts(p, part.column) for p in self._paths}) == 1
                literal = constant and part.key is None
                pattern = pattern.replace("{symbol}", part.rest if literal else "*")
            written.append(pattern)
        if any_name and column != "name":
            patterns = {self._at(p, "name").pattern for p in self._paths}
            if len(patterns) > 1 or self._at(path, "name").rest:
                written[-1] = "*"
        return "/".join(written) + self._suffix[path]

    def _texts(self, path: str, column: str) -> str | None:
        return next((p.text for p in self._parts[path] if p.column == column), None)


_NUMBERED = {2: "{month}", 3: "{day}"}


def _begun(text: str) -> tuple[int, ...]:
    """A date that a name begins and the folders in it may go on with: a year, or a month of one."""
    if re.fullmatch(r"(?:19[7-9]|20\d)\d", text):
        return (int(text),)
    found = re.fullmatch(r"((?:19[7-9]|20\d)\d)[-_.]?(0[1-9]|1[0-2])", text)
    return (int(found[1]), int(found[2])) if found is not None else ()


def _hive_key(texts: set[str]) -> str | None:
    """The hive key of folders beside each other; None where they have none.

    `ES=F` and `GC=F` are futures as Yahoo writes them.
    """
    found = [match for text in texts if (match := _HIVE.fullmatch(text)) is not None]
    keys = {match[1] for match in found}
    if len(keys) != 1 or len(found) < len(texts):
        return None
    key = keys.pop()
    yahoo = key.isupper() and {match[2] for match in found} <= {"F", "X"}
    return None if yahoo else key


def _restored(part: _Part) -> _Part:
    """A name of common words among names that say more: ALL beside AAPL is a symbol."""
    if part.rest or part.key is not None or not part.words:
        return part
    undated = taken_apart(part.text).undated
    if not (undated.isalpha() and undated.isupper()):
        return part
    pattern = part.pattern.replace(undated, "{symbol}", 1)
    return replace(part, rest=undated, pattern=pattern, words=())


def _with_anything(pattern: str) -> str:
    for place in ("{date}", "{year}", "{month}", "{day}"):
        pattern = pattern.replace(place, "*")
    return pattern


def _quoted(patterns: Sequence[str]) -> str:
    if len(patterns) == 1:
        return f'"{patterns[0]}"'
    return "[" + ", ".join(f'"{text}"' for text in patterns) + "]"


def _counted(files: int) -> str:
    return f"{files:,} file is" if files == 1 else f"{files:,} files are"


def _some(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _moment(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // SECOND_NS)
