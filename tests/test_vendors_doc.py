"""docs/vendors.md says of each vendor's feed what the feed itself says, and its configurations work."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from openbell.adapters.feeds import FeedInfo, feed_types
from openbell.adapters.feeds.registry import GROUP
from openbell.adapters.plugins import installed
from openbell.runtime.config import config_from
from openbell.runtime.intake.feeding import check_options

DOCUMENT = (Path(__file__).parents[1] / "docs" / "vendors.md").read_text()
NO_VENDORS = {"redis", "websocket"}


def infos() -> dict[str, FeedInfo]:
    """Of each vendor's feed that comes with openbell."""
    found = {}
    for of_type in feed_types():
        module = installed(GROUP)[of_type].value.partition(":")[0]
        if module.startswith("openbell.") and of_type not in NO_VENDORS:
            found[of_type] = import_module(module).INFO
    return found


def rows() -> dict[str, list[str]]:
    found = re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCUMENT.partition("\n## ")[0], re.MULTILINE)
    return {of_type: cells.split(" | ") for of_type, cells in found}


def test_the_table_says_what_each_feed_says_of_itself() -> None:
    expected = {
        of_type: [
            ", ".join(info.kinds),
            info.size_is,
            info.stamps,
            info.idle_minute,
            info.revised,
            info.login_ends,
            info.silence,
            info.history or "none",
        ]
        for of_type, info in infos().items()
    }

    assert rows() == expected
    assert {"kite", "alpaca"} <= set(expected)


CONFIGURATIONS = [
    block for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if "\nfeed:" in block
]


@pytest.mark.parametrize(
    "text", CONFIGURATIONS, ids=lambda text: yaml.safe_load(text)["feed"]["type"]
)
def test_the_configurations_can_be_used(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, "db-" + "x" * 29)
    for name in re.findall(r"file:(\w+)", text):
        Path(name).write_text("token\n")
    Path("instruments.csv").write_text(
        "instrument_token,tradingsymbol,exchange\n256265,NIFTY 50,NSE\n408065,INFY,NSE\n"
    )

    check_options(config_from(yaml.safe_load(text)))


def test_every_vendor_of_the_table_has_a_configuration_and_a_line_on_how_it_was_tested() -> None:
    configured = {yaml.safe_load(text)["feed"]["type"] for text in CONFIGURATIONS}
    tested = re.findall(r"^\| (\w[\w ]*) \| [^|]+ \| [^|]+ \|$", DOCUMENT, re.MULTILINE)

    assert configured == set(rows())
    assert {name.lower().replace(" ", "_") for name in tested} >= set(rows())
