"""The `timbre` command. It imports next to nothing, so that help comes at once; each command imports what it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from timbre.commands import data, doctor, speech, training
from timbre.commands.session import EXIT_CODES, FAILED, WRONG_USE, AsJson, Commands, print_json, tell

app = typer.Typer(
    help="Turn recordings of a voice into a fine-tuned XTTS-v2 voice, and serve it.",
    epilog=EXIT_CODES,
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_ON_A_SERVER = (
    *(data.datasets, data.download, data.upload, data.segment, data.transcribe),
    *(training.train, training.stop, training.status, training.logs, training.jobs, training.cancel, training.checkpoints),
    *(speech.say, speech.ab),
)
for _command in _ON_A_SERVER:
    app.command(rich_help_panel="On a server (--url, or TIMBRE_URL)")(_command)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        typer.echo(f"timbre {version('timbre')}")
        raise typer.Exit


@app.callback()
def _timbre(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="TIMBRE_HOST", help="Address the gateway listens on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="TIMBRE_PORT", min=0, max=65_535, help="Port of the gateway; 0 takes a free one.")
    ] = 8000,
    data_dir: Annotated[
        Path, typer.Option(envvar="TIMBRE_DATA_DIR", help="Folder for everything that is kept on this machine.")
    ] = Path(".timbre"),
    as_json: Annotated[bool, typer.Option("--json", help="Write log lines as JSON.")] = False,
) -> None:
    """Start the gateway and the three services, until Ctrl-C."""
    from pydantic import ValidationError

    from gateway.settings import GatewaySettings
    from services.runtime.errors import TimbreError
    from services.runtime.logs import set_up_logging
    from services.runtime.settings import describe
    from timbre.serve import serve as run

    if as_json:
        os.environ["TIMBRE_LOG_FORMAT"] = "json"  # for the processes that it starts, too
    try:
        settings = GatewaySettings(data_dir=data_dir)
    except ValidationError as error:
        tell("\n".join(map(describe, error.errors())), as_json)
        raise typer.Exit(WRONG_USE) from None
    set_up_logging(settings)
    try:
        run(settings, host, port)
    except TimbreError as error:
        tell(error.message, as_json)
        raise typer.Exit(FAILED) from None


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the job database (TIMBRE_DATABASE_URL) up to date; services do so too when they start."""
    from pydantic import ValidationError

    from services.runtime.errors import recognise
    from services.runtime.settings import RuntimeSettings, describe

    try:
        settings = RuntimeSettings()
    except ValidationError as error:
        tell("\n".join(map(describe, error.errors())), as_json)
        raise typer.Exit(WRONG_USE) from None
    from services.runtime.database import known_revisions, open_database

    try:
        open_database(settings.database_url).dispose()
    except Exception as error:
        known = recognise(error)
        if known is None:
            raise
        tell(known.message, as_json)
        raise typer.Exit(FAILED) from None
    schema = known_revisions()[-1]
    print_json({"schema": schema}) if as_json else typer.echo(f"The job database has schema {schema}.")


@app.command()
def token(
    subject: Annotated[str, typer.Option(help="Who it is for.")] = "developer",
    scope: Annotated[list[str] | None, typer.Option(help="What it allows; may be given several times. Default: admin.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 365, help="How long it is valid.")] = 12.0,
    as_json: AsJson = False,
) -> None:
    """Make a token for development, signed with TIMBRE_JWT_SECRET."""
    from pydantic import ValidationError

    from services.runtime import auth
    from services.runtime.errors import TimbreError
    from services.runtime.settings import RuntimeSettings, describe

    scopes = scope or [auth.ADMIN]
    if unknown := [name for name in scopes if name not in auth.SCOPES]:
        tell(f"There is no scope {unknown[0]!r}: use some of {', '.join(auth.SCOPES)}.", as_json)
        raise typer.Exit(WRONG_USE)
    try:
        minted = auth.mint(RuntimeSettings(), subject, scopes, hours * 3600)
        print_json({"token": minted, "subject": subject, "scopes": scopes}) if as_json else typer.echo(minted)
    except ValidationError as error:
        tell("\n".join(map(describe, error.errors())), as_json)
        raise typer.Exit(WRONG_USE) from None
    except TimbreError as error:
        tell(error.message, as_json)
        raise typer.Exit(FAILED) from None


@app.command()
def demo(
    model: Annotated[
        str, typer.Option(help="Base model: tiny (a stand-in, nothing is downloaded), xtts_v2, or the path of a folder.")
    ] = "tiny",
    output: Annotated[Path, typer.Option(help="Folder for what it makes; emptied first.")] = Path("demo-output"),
    keep: Annotated[
        bool | None,
        typer.Option(
            help="Leave it running at the end, so that the page can be looked at. Default: in a terminal.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole workflow through the HTTP API, on speech made for it."""
    from timbre.demo.api import DemoFailed
    from timbre.demo.run import run_demo

    try:
        done = run_demo(
            model, output, as_json=as_json, keep=sys.stdin.isatty() and sys.stdout.isatty() if keep is None else keep
        )
    except DemoFailed as error:
        tell(f"The demonstration failed: {error}\nWhat the services said is in {output / 'stack.log'}.", as_json)
        raise typer.Exit(FAILED) from None
    if as_json:
        print_json([asdict(step) for step in done])


if __name__ == "__main__":
    app()
