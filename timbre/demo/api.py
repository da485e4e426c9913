"""One run of the demonstration: what it works with, how it follows jobs, and what it has done so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from rich.console import Console

from gateway.schemas.jobs import Job
from timbre import Client, JobHandle
from timbre.demo.show import Bar, Done, bar

P = ParamSpec("P")
T = TypeVar("T")


class DemoFailed(RuntimeError):
    """A step did not do what it should; the message is a sentence that says which and why."""


@dataclass(frozen=True)
class Run:
    """One run of the demonstration.

    Attributes:
        client: Speaks to the gateway, as any program would.
        console: What the user sees.
        output: Folder for what is made.
        model: The base model.
        done: The steps done so far.
    """

    client: Client
    console: Console
    output: Path
    model: str
    done: list[Done] = field(default_factory=list)

    def step(
        self, name: str, function: Callable[Concatenate[Run, Bar, P], tuple[str, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Does one step under a bar; the function returns what it made in words, and what later steps need of it."""
        began = time.monotonic()
        with bar(self.console, name) as show:
            made, value = function(self, show, *args, **kwargs)
        self.done.append(Done(name, made, time.monotonic() - began))
        self.console.print(f"  {made}", highlight=False)
        return value

    def follow(self, handle: JobHandle, show: Bar, describe: Callable[[Job], str] = lambda job: job.message) -> None:
        """Shows a job until it has succeeded.

        Raises:
            timbre.errors.JobEnded: It failed or was stopped.
        """
        handle.wait(on_change=lambda job: show(job.progress / 100, describe(job), job.remaining_seconds))
