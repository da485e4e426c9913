"""What the demonstration shows of its progress and its figures."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from timbre.demo.show import Done, bar, closing_table, minutes, plot_loss, sparkline


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (187, "3:07"), (3725, "1:02:05")])
def test_minutes(seconds: float, text: str) -> None:
    assert minutes(seconds) == text


def test_sparkline_falls_with_the_loss() -> None:
    assert sparkline([5.0, 4.0, 3.0, 2.0]) == "█▆▃▁"


def test_sparkline_takes_the_mean_of_what_shares_a_character() -> None:
    drawn = sparkline([float(1000 - index) for index in range(1000)], width=20)
    assert len(drawn) == 20
    assert list(drawn) == sorted(drawn, reverse=True)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_sparkline_of_little(values: list[float]) -> None:
    assert sparkline(values) == "▁" * len(values)


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("timbre.demo.show.time.monotonic", lambda: next(clock))
    output = io.StringIO()
    with bar(Console(file=output, width=80), "Segment") as show:
        show(0.25, "first.wav", 3.0)
        show(0.5, "second.wav", 187.0)
        show(0.75, "third.wav", None)
    assert output.getvalue() == "Segment …\n  50% · second.wav · 3:07 left\n"


def test_in_a_terminal_there_is_a_bar() -> None:
    output = io.StringIO()
    with bar(Console(file=output, width=120, force_terminal=True), "Train") as show:
        show(0.5, "epoch 5/10", 65.0)
    assert "━" in output.getvalue()
    assert re.search(r"Train.*100%", output.getvalue())


def test_the_table_adds_up_the_time() -> None:
    output = io.StringIO()
    Console(file=output, width=80).print(
        closing_table([Done("Segment", "20 segments", 1.25), Done("Train", "10 epochs", 30.5)])
    )
    assert "20 segments" in output.getvalue()
    assert "31.8 s" in output.getvalue()


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    plot_loss(tmp_path / "loss.png", list(range(1, 51)), [5.0 - index / 25 for index in range(50)])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
