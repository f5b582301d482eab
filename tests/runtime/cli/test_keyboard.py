"""Keys while a run is on: what they do, and that the terminal is given back as it was."""

from __future__ import annotations

import io
import os
import queue
from collections.abc import Iterator
from typing import TextIO

import pytest

from openbell.runtime.cli.keyboard import Controls, has_keys, reading_keys

termios = pytest.importorskip("termios")


class Said:
    """A run that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.controls = Controls(
            pause=lambda: self.asked.append("pause"),
            resume=lambda: self.asked.append("resume"),
            step=lambda: self.asked.append("step"),
            stop=lambda: self.asked.append("stop"),
            say=lambda text: self.asked.append(f"say {text}"),
        )

    def press(self, keys: str) -> list[str]:
        for key in keys:
            self.controls(key)
        return [asked for asked in self.asked if not asked.startswith("say")]


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        (" ", ["pause"]),
        ("  ", ["pause", "resume"]),
        ("s", ["pause", "step"]),
        (".s", ["pause", "step", "step"]),
        (" S ", ["pause", "step", "resume"]),
        ("q", ["stop"]),
        ("x\x1b[A\n", []),
    ],
)
def test_a_key_does_what_the_line_says(keys: str, asked: list[str]) -> None:
    assert Said().press(keys) == asked


def test_a_paused_run_says_so() -> None:
    said = Said()
    said.press("  ")

    assert [asked for asked in said.asked if asked.startswith("say")] == ["say paused", "say "]


@pytest.fixture
def terminal() -> Iterator[tuple[int, TextIO]]:
    """The hand that types, and the terminal as the program has it."""
    hand, line = os.openpty()
    with os.fdopen(line, "r", encoding="utf-8") as stream:
        yield hand, stream
    os.close(hand)


def test_keys_come_one_by_one_and_without_enter(terminal: tuple[int, TextIO]) -> None:
    hand, line = terminal
    pressed: queue.Queue[str] = queue.Queue()

    with reading_keys(pressed.put, line):
        os.write(hand, b" s")
        first, second = (pressed.get(timeout=120) for _ in range(2))

    assert (first, second) == (" ", "s")


def test_keys_are_not_shown_and_ctrl_c_keeps_its_meaning(terminal: tuple[int, TextIO]) -> None:
    _, line = terminal

    with reading_keys(lambda key: None, line):
        modes = termios.tcgetattr(line)[3]

    assert not modes & (termios.ECHO | termios.ICANON)
    assert modes & termios.ISIG


def test_the_terminal_is_given_back_whatever_happens(terminal: tuple[int, TextIO]) -> None:
    _, line = terminal
    before = termios.tcgetattr(line)

    with pytest.raises(RuntimeError), reading_keys(lambda key: None, line):  # noqa: PT012
        assert termios.tcgetattr(line) != before
        raise RuntimeError

    assert termios.tcgetattr(line) == before


def test_a_terminal_that_is_hung_up_ends_the_reading_quietly() -> None:
    hand, line = os.openpty()
    stream = os.fdopen(line, "r", encoding="utf-8")
    with stream, reading_keys(lambda key: None, stream):
        os.close(hand)


def test_there_are_no_keys_where_there_is_no_terminal(terminal: tuple[int, TextIO]) -> None:
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        assert not has_keys(pipe)
    assert not has_keys(io.StringIO())
    # A terminal that another session controls: changing it would stop this process.
    assert not has_keys(terminal[1])
