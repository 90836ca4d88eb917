"""A study is shown as a table that is drawn anew on a terminal, and line by line elsewhere."""

import io
import logging
import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_study_table import CELL, FINISHED, RUNNING

from rlsparse.study import display
from rlsparse.study.display import Display


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 x 24 on stderr."""
    stream = Terminal()
    monkeypatch.setattr(display, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((100, 24)))
    return stream


def screen(text):
    """Return the lines that a terminal shows in the end."""
    lines, row = [""], 0
    for piece in re.split(r"(\x1b\[\d*[AJ]|\r|\n)", text):
        if piece == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif piece.endswith("A") and piece.startswith("\x1b"):
            row -= int(piece[2:-1])
        elif piece == "\x1b[J":
            lines[row:] = [""]
        elif piece != "\r":
            lines[row] += piece
    return lines


def test_on_a_terminal_the_table_is_drawn_in_its_own_place(terminal):
    with Display() as show:
        for standings in ([CELL, CELL], [RUNNING, CELL], [RUNNING, FINISHED]):
            show(standings)
    lines = screen(terminal.getvalue())
    assert [len(lines), lines[-1]] == [5, ""]
    assert "2:05:00 left" in lines[1]
    assert "finished" in lines[2]


def test_warnings_are_said_once_and_above_the_table(terminal):
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with Display() as show:
            for _ in range(2):
                show([CELL])
                logging.getLogger("rlsparse.test").warning("few evaluations")
            show([FINISHED])
    finally:
        logging.getLogger().removeHandler(handler)
    lines = screen(terminal.getvalue())
    assert lines[0] == "few evaluations"
    assert lines.count("few evaluations") == 1
    assert "finished" in lines[2]
    logging.getLogger("rlsparse.test").warning("few evaluations")
    assert handler.filters == []


def test_what_is_drawn_is_erased_if_the_same_is_printed_after_it(terminal):
    with Display(stays=False) as show:
        show([CELL])
    assert screen(terminal.getvalue()) == [""]


def test_elsewhere_news_are_lines_and_the_whole_is_told_once_a_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with Display() as show:
        for standings in ([CELL], [RUNNING], [RUNNING], [replace(RUNNING, steps=500_000)], [FINISHED]):
            show(standings)
            now[0] += 25
    assert capsys.readouterr().err.splitlines() == [
        "ppo on Hopper-v5, seeds 0 to 4: running at 250,000 steps",
        "1 cell: 1 running; 50.0 % of 5,000,000 steps, 500 steps/s, 1:23:20 left, 0:01:15",
        "ppo on Hopper-v5, seeds 0 to 4: finished, return 10.0 +- 0.0",
    ]


def test_quiet_says_nothing(capsys, terminal):
    with Display(quiet=True) as show:
        show([CELL])
        show([FINISHED])
    assert terminal.getvalue() == ""
