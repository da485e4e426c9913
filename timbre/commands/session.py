"""What every command that speaks to a server shares: its options, its output, and what becomes of errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    from gateway.schemas.jobs import Job
    from timbre import Client, JobHandle

FAILED, WRONG_USE, UNREACHABLE, NOT_ALLOWED, JOB_NOT_DONE, INTERRUPTED = 1, 2, 3, 4, 5, 130
"""Exit codes; 0 is success. `EXIT_CODES` says what each means."""

EXIT_CODES = (
    "Exit codes: 0 done · 1 refused or failed, the sentence on standard error says why · 2 wrong use, or a value out of "
    "range · 3 the server cannot be reached, or is full · 4 the token is missing or may not do this · 5 the job failed or "
    "was stopped · 130 Ctrl-C."
)

_PLAIN_WIDTH = 120  # columns where there is no terminal to ask

Url = Annotated[str | None, typer.Option("--url", envvar="TIMBRE_URL", help="The server. Default: http://127.0.0.1:8000.")]
Token = Annotated[
    str | None, typer.Option("--token", envvar="TIMBRE_TOKEN", help="What to authenticate with.", show_envvar=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return when the job has started, not when it is done.")]
Folder = Annotated[str, typer.Argument(help="The dataset: my_voice, or datasets/my_voice.", show_default=False)]


@dataclass(frozen=True)
class Session:
    """A command at work.

    Attributes:
        client: Speaks to the server.
        as_json: Whether standard output is for programs.
        console: For people; standard error when standard output is for programs.
    """

    client: Client
    as_json: bool
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "console", _console(stderr=self.as_json))

    def show(self, answer: BaseModel | list[Any] | dict[str, Any], people: RenderableType) -> None:
        """Prints an answer: as JSON, or as it is drawn for people."""
        if self.as_json:
            print_json(answer)
        else:
            self.console.print(people, highlight=False)

    def follow(
        self,
        handle: JobHandle,
        name: str,
        *,
        wait: bool,
        describe: Callable[[Job], str] | None = None,
        made: Callable[[Job], str] = lambda job: job.message or "done",
    ) -> None:
        """Shows a bar until a job is done, then what it made; Ctrl-C leaves the job alone.

        Args:
            handle: The job.
            name: What it does, in a word.
            wait: Whether to wait at all.
            describe: What is shown beside the bar; by default the job's own message.
            made: What it has made, in words.
        """
        from timbre.demo.show import bar

        if not wait:
            self.show(handle.started, f"{name}: started as {handle.id}; timbre logs -f {handle.id} shows how it goes")
            return
        try:
            with bar(self.console, name) as show:

                def changed(job: Job) -> None:
                    show(job.progress / 100, describe(job) if describe else job.message, job.remaining_seconds)

                job = handle.wait(on_change=changed)
        except KeyboardInterrupt:
            self.console.print(
                f"{handle.id} goes on: timbre logs -f {handle.id} follows it, timbre cancel {handle.id} stops it"
            )
            raise
        self.show(job, f"  {made(job)}")


@contextmanager
def session(url: str | None, token: str | None, as_json: bool) -> Iterator[Session]:
    """Opens a client for a command; what goes wrong inside is told in a sentence and ends the command with its exit code."""
    from timbre import Client, errors

    codes: tuple[tuple[type[errors.Error], int], ...] = (
        (errors.ConnectionFailed, UNREACHABLE),
        (errors.Unavailable, UNREACHABLE),
        (errors.Unauthenticated, NOT_ALLOWED),
        (errors.PermissionDenied, NOT_ALLOWED),
        (errors.InvalidArgument, WRONG_USE),
        (errors.JobEnded, JOB_NOT_DONE),
        (errors.Error, FAILED),
    )
    try:
        with Client(url, token) as client:
            yield Session(client, as_json)
    except errors.Error as error:
        tell(str(error), as_json, getattr(error, "body", None))
        raise typer.Exit(next(code for kind, code in codes if isinstance(error, kind))) from None
    except OSError as error:
        tell(str(error), as_json)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def tell(sentence: str, as_json: bool, body: dict[str, Any] | None = None) -> None:
    """Says on standard error what went wrong: a sentence, or the JSON of the server's answer."""
    typer.echo(json.dumps({"detail": sentence, **(body or {})}, ensure_ascii=False) if as_json else sentence, err=True)


def print_json(answer: BaseModel | list[Any] | dict[str, Any]) -> None:
    """Prints an answer on one line of standard output."""
    from pydantic_core import to_json

    typer.echo(to_json(answer))


def dataset(name: str) -> str:
    """Returns the folder of a dataset that is named with or without `datasets/`."""
    return name if name.startswith("datasets/") else f"datasets/{name}"


def _console(*, stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr) if terminal else Console(stderr=stderr, width=_PLAIN_WIDTH)
