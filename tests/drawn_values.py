"""Random values of any state, message or result, by the type hints of its fields."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

import openbell.actors
import openbell.messages
from openbell.messages.base import Message
from openbell.messages.control import Input
from openbell.messages.events import OWN_FIELDS
from openbell.messages.session import Noticed
from openbell.messages.time import Grant


def _classes(package: types.ModuleType) -> Iterator[type]:
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        yield from (of for of in vars(module).values() if isinstance(of, type))


MESSAGES = sorted(
    {of for of in _classes(openbell.messages) if issubclass(of, Message)} - {Message, Input},
    key=lambda of: of.__name__,
)
STATES: list[Any] = sorted(
    {
        part
        for found in pkgutil.iter_modules(openbell.actors.__path__)
        if hasattr(importlib.import_module(f"openbell.actors.{found.name}"), "State")
        for state in [importlib.import_module(f"openbell.actors.{found.name}").State]
        for part in get_args(state) or [state]
    },
    key=lambda of: f"{of.__module__}.{of.__name__}",
)

FLOATS = st.floats() | st.sampled_from([-0.0, float("nan"), -float("inf"), 5e-324])
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 0])
# A lone surrogate is no UTF-8, and no source delivers one.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
BITS = {
    np.dtype(np.float64): np.dtype(np.uint64),  # floats by their bits: each NaN is drawn
    np.dtype(np.bool_): np.dtype(np.bool_),
}


@st.composite
def columns(draw: st.DrawFn, dtype: Any) -> NDArray[Any]:
    """Arrays as actors may hold them: of any shape, empty, views of others, in any order."""
    dtype = np.dtype(dtype)
    shape = draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    whole: NDArray[Any] = draw(arrays(BITS.get(dtype, dtype), shape)).view(dtype)
    match draw(st.sampled_from(["as is", "every other", "backwards", "turned", "wide"])):
        case "every other" if whole.ndim:
            return whole[::2]
        case "backwards" if whole.ndim:
            return whole[..., ::-1]
        case "turned":
            return whole.T
        case "wide":
            return np.broadcast_to(whole, (2, *whole.shape))
    return whole


def of_hint(hint: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a field, whatever its type hint allows."""
    hint = getattr(hint, "__supertype__", hint)  # a NewType, such as MarketTime
    simple: dict[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        bool: st.booleans(),
        int: INTEGERS,
        float: FLOATS,
        str: TEXTS,
        bytes: st.binary(max_size=5),
        date: st.dates(),
    }
    if isinstance(hint, NewType):
        return of_hint(hint.__supertype__, depth)
    if hint in simple:
        return simple[hint]
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return st.one_of([of_hint(part, depth) for part in inner])
    if kind is Literal:
        return st.sampled_from(inner)
    if kind is np.ndarray:
        return columns(get_args(inner[1])[0])
    if kind is tuple:
        if inner[1:] == (...,):
            # Grants hold inputs, and inputs lead to messages again: that has to end.
            end = depth >= 2 and inner[0] in (Message, Input, Grant)
            return st.just(()) if end else st.lists(of_hint(inner[0], depth), max_size=2).map(tuple)
        return st.tuples(*(of_hint(part, depth) for part in inner))
    if kind is frozenset:
        return st.frozensets(of_hint(inner[0], depth), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return st.dictionaries(of_hint(inner[0], depth), of_hint(inner[1], depth), max_size=3)
    if hint in (Message, Input):
        return st.one_of([instances(of, depth) for of in MESSAGES if issubclass(of, hint)])
    assert isinstance(hint, type), f"a field of type {hint}: draw values for it"
    return instances(hint, depth)


@cache
def instances(of: type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Any state or message of a class. Where one leads to itself it ends after some rounds."""
    hints = get_type_hints(of)
    if issubclass(of, Message):
        names = list(of.model_fields)
    else:
        assert dataclasses.is_dataclass(of), f"a field of type {of}: draw values for it"
        names = [f.name for f in dataclasses.fields(of) if f.metadata.get("snapshot", True)]
    fields = {name: of_hint(hints[name], depth + 1) for name in names}
    if of is Noticed:  # its facts stand beside its own fields in the audit trail
        fields["facts"] = fields["facts"].filter(lambda facts: not OWN_FIELDS & facts.keys())
    return st.builds(of, **fields)
