"""Indicator functions of packages and programs, found by type; a wrong one is named."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from trading import bars, weekdays

from openbell.adapters.indicators import indicator_functions
from openbell.errors import ConfigError
from openbell.market.bars import Prices
from openbell.market.days import MINUTE_NS
from openbell.market.history import History, history_day
from openbell.market.indicators import IndicatorSpec, Trailing, indicator_values, trailing_max

EXAMPLES = Path(__file__).parents[2] / "examples"

DAYS = weekdays(date(2024, 6, 3), 4)
SPEC = IndicatorSpec("mine", "median_true_range", "3d")


def middle(trailing: Trailing) -> Prices:
    middles: Prices = np.median(trailing.values(), axis=0)
    return middles


def offer(folder: Path, *points: str) -> None:
    """Entry points as an installed package has them."""
    info = folder / "offers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[openbell.indicators]", *points]))


def history() -> History:
    closes = ([[10.0, 5.0]], [[13.0, 5.0]], [[11.0, 5.0]])
    days = (
        history_day(bars(day, close, volume=n + 1.0, symbols=("A", "B")), keep_rows=True)
        for n, (day, close) in enumerate(zip(DAYS, closes, strict=False))
    )
    return History(("A", "B"), tuple(days))


def test_built_in_types_and_functions_of_the_program_are_found() -> None:
    specs = [replace(SPEC, name="high", type="trailing_max"), replace(SPEC, type="middle")]

    found = indicator_functions(specs, {"middle": middle})

    assert found == {"high": trailing_max, "mine": middle}


def test_the_example_works_as_a_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLES / "indicator_plugin.py").read_text(encoding="utf-8")
    points = [
        line.strip().replace('"', "")
        for line in text.splitlines()
        if '= "indicator_plugin:' in line
    ]
    offer(tmp_path, *points)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "indicator_plugin", raising=False)
    usual = IndicatorSpec(
        "usual", "usual_volume", "3d", "intraday", "volume", options={"factor": 2}
    )

    functions = indicator_functions([SPEC, usual])

    expected = tuple(day.date for day in DAYS[:3])
    ranges, volumes = (
        indicator_values(spec, functions[spec.name], history(), DAYS[3], expected, MINUTE_NS)
        for spec in (SPEC, usual)
    )
    assert ranges.values.tolist() == [2.0, 0.0]  # of ranges of 0, 3 and 2
    assert volumes.values.tolist() == [[4.0, 4.0]] * 4


def test_an_unknown_type_names_the_nearest_and_how_to_add_one() -> None:
    with pytest.raises(ConfigError) as caught:
        indicator_functions([replace(SPEC, type="trailing_avrage")], {"middle": middle})

    assert str(caught.value) == (
        'history.indicators.mine.type is "trailing_avrage", which is unknown, did you mean '
        '"trailing_average"; known are average_true_range, middle, trailing_average, trailing_max, '
        "trailing_min; a package adds one by an entry point of the group openbell.indicators, a "
        "program by passing a function"
    )


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("no_such_module:function", "does not load .*install what it needs"),
        ("math:no_such_function", "does not load"),
        ("math:pi", "is a float; let it lead to a function"),
    ],
)
def test_a_plug_in_that_can_not_be_used_is_named(
    target: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, f"median_true_range = {target}")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=rf"mine\.type: .*{target}.*{problem}"):
        indicator_functions([SPEC])


def test_a_function_can_not_take_a_built_in_name() -> None:
    with pytest.raises(ConfigError, match='"trailing_max" is built in; pass yours by another name'):
        indicator_functions([], {"trailing_max": middle})


def test_options_that_a_built_in_type_does_not_have_are_refused() -> None:
    spec = replace(SPEC, type="trailing_max", options={"decay": 0.5})

    with pytest.raises(
        ConfigError, match=r"mine\.options has decay, but trailing_max takes no options"
    ):
        indicator_functions([spec])
