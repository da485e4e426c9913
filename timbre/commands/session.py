"""What every command that speaks to a server shares: its options, its output, and what becomes of errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType
    from rich.table import Table

    from gateway.schemas.jobs import Job
    from timbre import Client, JobHandle

FAILED, WRONG_USE, UNREACHABLE, NOT_ALLOWED, JOB_NOT_DONE, INTERRUPTED = 1, 2, 3, 4, 5, 130
"""Exit codes; 0 is success. `EXIT_CODES` says what each means."""

EXIT_CODES = (
    "Exit codes: 0 done · 1 refused or failed, the sentence on standard error says why · 2 wrong use, or a value out of "
    "range · 3 the server cannot be reached, or is full · 4 the token is missing or may not do this · 5 the job failed or "
    "was stopped · 130 Ctrl-C."
)

_COPIED = ("Job", "Path")  # columns of what other commands want to be given: in one piece, as long as there is room

_PLAIN_WIDTH = 10_000  # columns where there is no terminal: programs read lines, and nothing may be cut

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
        shown = console(stderr=self.as_json)
        shown.quiet = self.as_json and not shown.is_terminal  # a program reads the errors there, as JSON
        object.__setattr__(self, "console", shown)

    def show(self, answer: BaseModel | list[Any] | dict[str, Any], people: RenderableType) -> None:
        """Prints an answer: as JSON, or as it is drawn for people."""
        if self.as_json:
            print_json(answer)
        else:
            self.console.print(people, soft_wrap=isinstance(people, str))

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
        (errors.InvalidConnection, WRONG_USE),
        (errors.InvalidValue, WRONG_USE),
        (errors.JobEnded, JOB_NOT_DONE),
        (errors.Error, FAILED),
    )
    try:
        with Client(url, token) as client:
            yield Session(client, as_json)
    except errors.Error as error:
        ended = {"job": error.job.model_dump(mode="json")} if isinstance(error, errors.JobEnded) else None
        tell(str(error), as_json, getattr(error, "body", ended))
        raise typer.Exit(next(code for kind, code in codes if isinstance(error, kind))) from None
    except UnicodeEncodeError:
        tell("A text or the name of a file holds bytes that are no UTF-8: convert it first, for example by iconv.", as_json)
        raise typer.Exit(WRONG_USE) from None
    except BrokenPipeError:
        raise  # whoever read the output has seen enough
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


def console(*, stderr: bool = False, plain_width: int = _PLAIN_WIDTH) -> Console:
    """Returns what people read; it shows texts as they are, whatever brackets and colons they hold."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else plain_width
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def table(*columns: str, numbers: Sequence[str] = (), title: str | None = None) -> Table:
    """Returns an empty table; what does not fit into a narrow terminal goes on in the next line, and nothing is cut.

    Args:
        columns: What stands above each.
        numbers: Those that are set flush right.
        title: What stands above all.
    """
    from rich.table import Column, Table

    heads = (
        Column(name, overflow="fold", no_wrap=name in _COPIED, justify="right" if name in numbers else "left")
        for name in columns
    )
    return Table(*heads, title=title, title_justify="left")


class Commands(TyperGroup):
    """The commands; with `--json` it is JSON, too, that says what is wrong with how one was called."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **more: Any) -> Any:
        """Runs the command that the arguments name."""
        words = sys.argv[1:] if args is None else list(args)
        if "--json" not in words:
            return super().main(words, *others, **more)
        try:
            code = super().main(words, *others, **{**more, "standalone_mode": False})
        except typer.TyperException as error:
            tell(getattr(error, "format_message", error.__str__)(), as_json=True)
            code = WRONG_USE
        sys.exit(code or 0)
