"""Reads a configuration from where it may stand, and says what is wrong with it.

Precedence: the command line's options over the environment (`OPENBELL_BREAKOUT__CONFIRM`) over the
file over the defaults. A ConfigError has one line for each problem, all problems at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from openbell.adapters.secrets import FILE
from openbell.errors import ConfigError
from openbell.hidden import conceal
from openbell.runtime.config.model import Config
from openbell.runtime.config.secrets import resolve

Loc = tuple[str | int, ...]

PREFIX = "OPENBELL_"
RESERVED = re.compile(r"LOG_(LEVEL|JSON)$|SERVICE_|PORT(_|$)")
"""Of the command line's logging; and what Kubernetes sets in every pod beside a service that is called openbell."""

WITHOUT_A_FILE = "configuration"
SQLITE = "sqlite:///"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types, so that `09:30`, `NO`, `ON` and `000270` are the text they look like.

    YAML 1.1, PyYAML's, reads them as 570, false, true and 184. Keys are always text, and one that
    stands twice is an error.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 the base class declares it so

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(
                None, None, "expected a mapping", node.start_mark
            )
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key has to be text", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key.value}" stands twice', key.start_mark
                )
            seen.add(key.value)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+|[0-9]+[eE][-+]?[0-9]+)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first)
    )


@dataclass
class _Given:
    """What was given, and from where."""

    label: str
    """Where values come from that `origins` doesn't name."""
    tree: dict[Any, Any] = field(default_factory=dict)
    origins: dict[Loc, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        place = self.tree
        for part in path[:-1]:
            below = place.get(part)
            if not isinstance(below, dict):
                below = place[part] = {}
            place = below
        place[path[-1]] = value
        self.origins[path] = origin

    def origin(self, loc: Loc) -> str:
        longest = (self.origins.get(loc[:length]) for length in range(len(loc), 0, -1))
        return next((origin for origin in longest if origin), self.label)


def load_config(
    path: str | os.PathLike[str] | None,
    *,
    overrides: Mapping[str, Any] = {},
    env: Mapping[str, str] | None = None,
) -> Config:
    """The configuration in a file, under the environment and overrides.

    Parameters
    ----------
    path : path or None
        A YAML or JSON file; without one, the environment and overrides have to say all. Relative
        paths inside it, and the default store's, are relative to the file.
    overrides : mapping
        Dotted keys and their values, `{"backtest.start": "2024-06-24"}`; a value of None counts
        as not given. Relative paths here are relative to the working folder.
    env : mapping, optional
        The environment; the process's own if None. Empty variables count as not set.

    Raises
    ------
    openbell.errors.ConfigError
        With one line a problem.
    """
    given = _Given(WITHOUT_A_FILE if path is None else str(path))
    if path is not None:
        given.tree = _anchored(_file_tree(Path(path)), Path(path).parent)
    env = os.environ if env is None else env
    _put_environment(given, env)
    _put_overrides(given, overrides)
    return _validated(given, env, Path() if path is None else Path(path).parent)


def config_from(
    source: Config | Mapping[str, Any] | str | os.PathLike[str],
    *,
    overrides: Mapping[str, Any] = {},
    env: Mapping[str, str] | None = None,
) -> Config:
    """A configuration from what an embedding program has: one, a mapping, or a file's path.

    The environment counts for files only, as a mapping is the program's own word; relative paths
    in a mapping are relative to the working folder. `overrides` and errors as in `load_config`.
    """
    if isinstance(source, Config) and not overrides:
        return source
    if isinstance(source, str | os.PathLike):
        return load_config(source, overrides=overrides, env=env)
    given = _Given(WITHOUT_A_FILE)
    if isinstance(source, Config):
        given.tree = source.model_dump(mode="json", exclude_unset=True)
    elif isinstance(source, Mapping):
        given.tree = _copied(source)
    else:
        raise ConfigError(f"{WITHOUT_A_FILE} is {_shown(source)}; give a Config, mapping or path")
    _put_overrides(given, overrides)
    made = isinstance(source, Config)
    return _validated(given, os.environ if env is None else env, Path(), made=made)


def _file_tree(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; check the path, or write one there") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder; name the file in it, e.g. config.yaml") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; check the file") from None
    try:
        tree = _json(text) if path.suffix == ".json" else yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{path}: {where}: {error.msg}; correct the JSON there") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {_yaml_problem(error)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; a configuration is flat") from None
    if tree is None:
        raise ConfigError(f"{path}: the file is empty; write at least exchange and sessions")
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: holds {_shown(tree)}; write keys and values, e.g. exchange: XNYS"
        )
    return tree


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree = dict(pairs)
        if len(tree) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for place, key in enumerate(keys) if key in keys[:place])
            raise ValueError(f'the key "{twice}" stands twice')
        return tree

    return json.loads(text, object_pairs_hook=once) if text.strip() else None


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        if "stands twice" in error.problem:
            advice = "leave one out"
        elif "'\\t'" in error.problem:
            advice = "indent with spaces"
        else:
            advice = "check quotes, colons and indentation there"
        return f"{where}{error.problem}; {advice}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"position {error.position}: a character YAML does not allow; remove it"
    return f"{error}; leave one out" if "stands twice" in str(error) else f"{error}; correct it"


def _copied(tree: Mapping[Any, Any]) -> dict[Any, Any]:
    """Mappings as dicts of our own, since overrides are put into them."""
    return {
        key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()
    }


def _anchored(tree: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    """The tree with a file's relative paths as seen from the working folder."""
    data, store = tree.get("data"), tree.get("store")
    path = data.get("path") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(path, str) and path and not path.startswith("~"):
        data["path"] = str(folder / path)
    feed = tree.get("feed")
    for key in ("refused", "record"):
        written = feed.get(key) if isinstance(feed, dict) else None
        if isinstance(feed, dict) and isinstance(written, str) and not written.startswith("~"):
            feed[key] = str(folder / written) if written else written
    symbols = tree.get("symbols")
    listed = symbols.get("file") if isinstance(symbols, dict) else None
    if isinstance(symbols, dict) and isinstance(listed, str) and not listed.startswith("~"):
        symbols["file"] = str(folder / listed) if listed else listed
    instruments = tree.get("instruments")
    if isinstance(instruments, str):
        instruments = tree["instruments"] = {"file": instruments}
    named = instruments.get("file") if isinstance(instruments, dict) else None
    if isinstance(instruments, dict) and isinstance(named, str) and not named.startswith("~"):
        instruments["file"] = str(folder / named) if named else named
    for sink in tree["sinks"] if isinstance(tree.get("sinks"), list) else ():
        if isinstance(sink, dict) and isinstance(options := sink.get("options"), dict):
            sink["options"] = _anchored_options(options, folder, is_file=sink.get("type") == "file")
    if store is None:
        store = tree["store"] = {}
    if isinstance(store, dict):
        url = store.get("url")
        if url is None:
            url = Config.model_fields["store"].default.url
        # As a URL path is: one more slash makes it absolute, and is then part of the file's name.
        if isinstance(url, str) and url.startswith(SQLITE) and url != SQLITE:
            store["url"] = SQLITE + str(folder / url.removeprefix(SQLITE))
    return tree


def _anchored_options(given: Any, folder: Path, *, is_file: bool) -> Any:
    """A sink's options: its own file, and those that hold secrets."""
    if isinstance(given, dict):
        return {
            key: str(folder / value)
            if is_file and key == "path" and isinstance(value, str) and value[:1] not in ("~", "$")
            else _anchored_options(value, folder, is_file=False)
            for key, value in given.items()
        }
    if isinstance(given, list):
        return [_anchored_options(value, folder, is_file=False) for value in given]
    if isinstance(given, str) and given.startswith(FILE) and not given.startswith(f"{FILE}~"):
        return FILE + str(folder / given.removeprefix(FILE))
    return given


def _put_environment(given: _Given, env: Mapping[str, str]) -> None:
    for variable in sorted(env):  # shorter names, which hold whole sections, come first
        rest = variable.removeprefix(PREFIX)
        if rest == variable or RESERVED.match(rest) or not env[variable].strip():
            continue
        path = tuple(rest.lower().split("__"))
        known = _known_prefix(path)
        if known < len(path):
            given.problems.append(f"{variable}: {_unknown(path[: known + 1], _as_variable)}")
            continue
        value: Any = env[variable]
        if path != ("data", "path"):
            try:
                value = written_value(value, variable)
            except ConfigError as error:
                given.problems.append(str(error))
                continue
        given.put(path, value, variable)


def written_value(text: str, where: str) -> Any:
    """A value on one line: lists and mappings are YAML, all else is the text that it is.

    Raises
    ------
    openbell.errors.ConfigError
        Naming `where` it stands.
    """
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
    except yaml.YAMLError:
        example = '[a, b]" or "{a: b}'
        raise ConfigError(
            f'{where} is {_shown(text)}; write it as YAML on one line, e.g. "{example}"'
        ) from None


def _put_overrides(given: _Given, overrides: Mapping[str, Any]) -> None:
    for dotted in sorted(overrides):
        if overrides[dotted] is None:
            continue
        path = tuple(dotted.split("."))
        known = _known_prefix(path)
        if known < len(path):
            given.problems.append(f"option: {_unknown(path[: known + 1])}")
        else:
            given.put(path, overrides[dotted], "option")


def _validated(
    given: _Given, env: Mapping[str, str], folder: Path, *, made: bool = False
) -> Config:
    """The configuration that was given.

    Parameters
    ----------
    env, folder
        Where values come from that are written `${NAME}` or `file:PATH`.
    made
        Whether all but options was a configuration already: what it holds is meant as it stands.
    """
    problems = list(given.problems)

    def refuse(loc: Loc, need: str) -> None:
        problems.append(_line(given, loc, need))

    def stands(loc: Loc) -> bool:
        return made and given.origin(loc) == given.label

    endless = False
    try:
        given.tree = resolve(given.tree, env, folder, refuse, stands)
    except RecursionError:
        endless = True
    try:
        config = Config.model_validate(given.tree)
    except ValidationError as error:
        problems += _lines(error, given)
    if endless and not problems:
        problems.append(f"{given.label}: a value holds itself; write out what it is to hold")
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(_printable(conceal(of)) for of in problems)))
    if config.feed.type == "replay":
        return config
    from openbell.hosttime import utc_now  # numpy comes with it

    return config.resolved(utc_now())


def _lines(error: ValidationError, given: _Given) -> Iterator[str]:
    found = error.errors(include_url=False)
    meant = {_nearest(each["loc"]) for each in found if each["type"] == "extra_forbidden"}
    for each in found:
        loc: Loc = each["loc"]
        if each["type"] == "too_short" and any(
            len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in found
        ):
            continue  # the list is short only of items that were refused
        if each["type"] == "contradiction":
            for below, need in each["ctx"]["problems"]:
                yield _line(given, loc + below, need)
        elif each["type"] == "extra_forbidden":
            yield f"{given.origin(loc)}: {_unknown(loc)}"
        elif each["type"] == "missing":
            if loc not in meant:  # else the misspelt key is the one problem
                example = _example(loc)
                yield f"{given.origin(loc)}: {_dotted(loc)} is missing; write e.g. {example}"
        else:
            loc = loc[:-1] if loc[-1] == "[key]" else loc
            yield _line(given, loc, _need(each["type"], dict(each.get("ctx", {})), loc))


def _line(given: _Given, loc: Loc, need: str) -> str:
    value: Any = given.tree
    for part in loc:
        if isinstance(value, Mapping) and isinstance(part, str) and part not in value:
            return f"{given.origin(loc)}: {_dotted(loc)} is not set; {need}"
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = part  # a key that is itself the problem
    return f"{given.origin(loc)}: {_dotted(loc)} is {_shown(value)}; {need}"


def _need(kind: str, context: Mapping[str, Any], loc: Loc) -> str:
    """What is needed instead, for the kinds of error that pydantic has."""
    match kind:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return "write " + str(context["expected"]).replace("'", "")
        case "greater_than":
            return f"write a number above {context['gt']:g}"
        case "greater_than_equal":
            return f"write {context['ge']:g} or more"
        case "less_than_equal":
            return f"write {context['le']:g} or less"
        case "too_short":
            return f"list at least one, e.g. {_example(loc, '[a, b]')}"
        case "bool_type" | "bool_parsing":
            return "write true or false"
        case "float_type" | "float_parsing" | "finite_number":
            return "write a number, e.g. 0.5"
        case "tuple_type" | "list_type":
            return f"write a list, e.g. {_example(loc, '[a, b]')}"
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type":
            return "write keys and values, e.g. " + _example(loc, "{key: value}")
        case "invalid_key":
            return "write keys as text"
        case _ if kind.startswith("int_"):
            return "write a whole number, e.g. 3"
        case _ if kind.startswith("string_"):
            return f"write text, e.g. {_example(loc, 'in quotes')}"
    return f"write e.g. {_example(loc, 'another value')}"


def _unknown(loc: Loc, spell: Callable[[Loc], str] | None = None) -> str:
    """What to say of a key that is none; `spell` writes the keys to use instead."""
    spell = spell or _dotted
    nearest, model = _nearest(loc), _model_at(loc[:-1])
    if nearest:
        return f"{_dotted(loc)} is not a key; did you mean {spell(nearest)}?"
    if model is None:
        return f"{_dotted(loc)} can't be set by itself; set {spell(loc[:-1])} as a whole"
    return f"{_dotted(loc)} is not a key; the keys there are {', '.join(model.model_fields)}"


def _nearest(loc: Loc) -> Loc | None:
    """The nearest known key in that place, or of the same name right below it."""
    model, place = _model_at(loc[:-1]), loc[:-1]
    if model is None:
        return None
    if close := get_close_matches(str(loc[-1]), model.model_fields, n=1, cutoff=0.6):
        return (*place, close[0])
    for name in model.model_fields:
        below = _model_at((*place, name))
        if below is not None and loc[-1] in below.model_fields:
            return (*place, name, loc[-1])
    return None


def _known_prefix(path: tuple[str, ...]) -> int:
    """How many leading parts of a dotted key are known."""
    for length in range(1, len(path) + 1):
        model = _model_at(path[: length - 1])
        if model is None or path[length - 1] not in model.model_fields:
            return length - 1
    return len(path)


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """The section that stands at a place, if one does."""
    at: Any = Config
    for part in loc:
        if isinstance(at, type) and issubclass(at, BaseModel):
            info = at.model_fields.get(str(part))
            at = info.annotation if info else None
        elif get_origin(at) is tuple:
            at = get_args(at)[0]
        elif get_origin(at) is not None and issubclass(get_origin(at), Mapping):
            at = get_args(at)[1]
        else:
            return None
    return at if isinstance(at, type) and issubclass(at, BaseModel) else None


def _example(loc: Loc, otherwise: str = "it") -> str:
    model = _model_at(loc[:-1]) if loc else None
    info = model.model_fields.get(str(loc[-1])) if model else None
    if not info or not info.examples:
        return otherwise
    example = info.examples[0]
    text = example if isinstance(example, str) and example[:1] in "[{" else _shown(example)
    return f"{loc[-1]}: {text}" if otherwise == "it" else text


def _dotted(loc: Loc) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _as_variable(loc: Loc) -> str:
    return PREFIX + "__".join(str(part) for part in loc).upper()


def _shown(value: Any) -> str:
    """A value as a user would write it, cut short, without a URL's password."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # keys that JSON doesn't have, or a value that holds itself
        text = repr(value)
    text = _printable(conceal(text))
    text = re.sub(r"(://[^/@\s]*:)[^/@\s]*@", r"\1***@", text)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _printable(text: str) -> str:
    """Text on one line, whatever a key or a value holds."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
