"""What `exchange check` and `exchange apply` say of one object and of several."""

from __future__ import annotations

import pytest

from exchange.apply.steps import Applied, Line, Mark, Stage, Survey
from exchange.commands import topology


def test_one_object_is_counted_in_the_singular() -> None:
    lines = (Line(Mark.CREATED, "topic", "raw.x"), Line(Mark.UNCHANGED, "access", "worker"))
    printer = topology._Printer(verbose=False, silent=True)
    for line in lines:
        printer.line(line, 0.1)
    assert printer.summary(Applied(3, lines, ())) == (
        "= unchanged: 1 access list\n1 change made; plan version 3 is in force\n"
    )


def test_several_objects_are_counted_in_the_plural() -> None:
    lines = [Line(Mark.UNCHANGED, "topic", "raw.x"), Line(Mark.UNCHANGED, "topic", "raw.y")]
    printer = topology._Printer(verbose=False, silent=True)
    for line in lines:
        printer.line(line, 0.1)
    assert printer.summary(Applied(3, tuple(lines), ())).startswith("= unchanged: 2 topics\n")


def test_one_change_is_asked_about_in_the_singular(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", asked.append)
    removed = Stage((Line(Mark.REMOVED, "user", "x"),), lambda: None)
    topology._ask(Survey(withdrawals=[removed], problems=["no password"]))
    assert asked == ["1 change to make. Go ahead?"]
    assert "1 problem in the way; only what begins with - would be done\n" in capsys.readouterr().out
