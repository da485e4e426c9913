"""What the demonstration shows: a bar for each step, plain lines where there is no terminal, a table, the loss."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_TICKS = "▁▂▃▄▅▆▇█"
# Without a terminal, a line every so often shows that a long step goes on.
_LINE_SECONDS = 10.0


class Bar(Protocol):
    """How far a step is."""

    def __call__(self, fraction: float, message: str = "", remaining_seconds: float | None = None) -> None:
        """Shows the part done, 0..1, what is being done, and the time left."""


@dataclass(frozen=True)
class Done:
    """A step that is done: what it is called, what it made, and how many seconds it took."""

    step: str
    made: str
    seconds: float


@contextmanager
def bar(console: Console, step: str) -> Iterator[Bar]:
    """Shows the progress of one step: a moving bar in a terminal, otherwise a line now and then."""
    if console.is_terminal:
        with _moving_bar(console, step) as show:
            yield show
        return
    console.print(f"{step} …")
    shown_at = time.monotonic()

    def show_line(fraction: float, message: str = "", remaining_seconds: float | None = None) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at > _LINE_SECONDS:
            shown_at = time.monotonic()
            console.print("  " + " · ".join(filter(None, [f"{fraction:.0%}", message, _left(remaining_seconds)])))

    yield show_line


@contextmanager
def _moving_bar(console: Console, step: str) -> Iterator[Bar]:
    columns = (
        TextColumn(f"{step:<12}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", style="cyan"),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(step, total=1.0, left="", message="")

        def show(fraction: float, message: str = "", remaining_seconds: float | None = None) -> None:
            progress.update(task, completed=fraction, message=message, left=_left(remaining_seconds))

        yield show
        progress.update(task, completed=1.0, left="", message="")


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{minutes(seconds)} left"


def minutes(seconds: float) -> str:
    """Writes a length of time as people do: `3:07`, `1:00:41`."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def closing_table(steps: Sequence[Done]) -> Table:
    """Returns the table of what each step made and how long it took."""
    table = Table(title="What was made", title_justify="left")
    table.add_column("Step", no_wrap=True)
    table.add_column("Made")
    table.add_column("Time", justify="right", no_wrap=True)
    for done in steps:
        table.add_row(done.step, done.made, f"{done.seconds:.1f} s")
    table.add_section()
    table.add_row("All", "", f"{sum(done.seconds for done in steps):.1f} s")
    return table


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Draws a series in one line of characters, each the mean of its share of the values; the highest is `█`."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_TICKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_TICKS[round((mean - low) * scale)] for mean in means)


def plot_loss(path: Path, steps: Sequence[int], losses: Sequence[float]) -> None:
    """Draws the loss of each step, and its running mean, into a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    window = max(1, len(losses) // 10)
    smooth = [sum(losses[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(losses))]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(steps, losses, color="0.75", linewidth=1, label="each step")
    axes.plot(steps, smooth, color="tab:blue", linewidth=2, label=f"mean of the last {window}")
    axes.set(xlabel="step", ylabel="loss", title="Training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
