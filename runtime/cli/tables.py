"""Tables for people, on a terminal or into a file."""

from __future__ import annotations

from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(what: Table | str) -> None:
    """On a terminal as wide as that; into a file or pipe as wide as it takes, without padding."""
    console = Console(highlight=False, markup=False)
    if isinstance(what, str):
        console.print(what, soft_wrap=True)
    elif console.is_terminal:
        console.print(what)
    else:
        wide = Console(highlight=False, markup=False, width=1000, file=StringIO())
        with wide.capture() as captured:
            wide.print(what)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def new_table(title: str, *columns: str) -> Table:
    return Table(
        *columns,
        title=Text(title, overflow="fold"),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )


def add_number(table: Table, name: str = "") -> None:
    table.add_column(name, justify="right", no_wrap=True)
