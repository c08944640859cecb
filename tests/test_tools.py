"""The tools that run the book: choosing articles, tallying sweeps, refusing to write what nobody measured."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tools import full_run, run_notebooks, sweep


def record(claim: str, held: bool | None) -> dict:
    return {"id": claim, "held": held}


def test_a_sweep_counts_the_seeds_under_which_a_verdict_held_and_leaves_out_the_undecided():
    runs = {
        0: [record("C1", True), record("C2", False), record("C3", None)],
        1: [record("C1", True), record("C2", True)],
    }
    assert sweep.tally(runs) == {"C1": 2, "C2": 1}


def test_an_unknown_slug_is_named_with_those_that_exist():
    found = [SimpleNamespace(slug="rope-2d"), SimpleNamespace(slug="univae")]
    assert run_notebooks.choose(["univae"], found) == found[1:]
    with pytest.raises(SystemExit, match=r"no article rope-3d; there are: rope-2d, univae"):
        run_notebooks.choose(["rope-3d"], found)


def test_running_nothing_says_that_the_cache_has_everything(capsys):
    assert run_notebooks.run([]) == 0
    assert "every article is in the execution cache" in capsys.readouterr().out


@pytest.mark.parametrize(("mode", "arguments"), [("small", ["rope-2d"]), ("dry", ["rope-2d"]), ("full", [])])
def test_a_full_run_is_recorded_in_full_mode_alone(monkeypatch, mode, arguments):
    monkeypatch.setenv("BOOK_MODE", mode)
    monkeypatch.setattr(sys, "argv", ["full_run", *arguments])
    with pytest.raises(SystemExit, match="BOOK_MODE=full"):
        full_run.main()
