"""The `timbre` command. It imports next to nothing, so that help comes at once; each command imports what it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Turn recordings of a voice into a fine-tuned XTTS-v2 voice, and serve it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _timbre() -> None:
    # Its presence makes typer expect the name of a command, however few there are.
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
) -> None:
    """Start the gateway and the three services, until Ctrl-C."""
    from pydantic import ValidationError

    from gateway.settings import GatewaySettings
    from services.runtime.errors import TimbreError
    from services.runtime.logs import set_up_logging
    from services.runtime.settings import describe
    from timbre.serve import serve as run

    try:
        settings = GatewaySettings(data_dir=data_dir)
    except ValidationError as error:
        for flaw in error.errors():
            typer.echo(describe(flaw), err=True)
        raise typer.Exit(2) from None
    set_up_logging(settings)
    try:
        run(settings, host, port)
    except TimbreError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from None


@app.command()
def migrate() -> None:
    """Bring the job database (TIMBRE_DATABASE_URL) up to date; services do so too when they start."""
    from pydantic import ValidationError

    from services.runtime.errors import recognise
    from services.runtime.settings import RuntimeSettings, describe

    try:
        settings = RuntimeSettings()
    except ValidationError as error:
        typer.echo("\n".join(describe(flaw) for flaw in error.errors()), err=True)
        raise typer.Exit(2) from None
    from services.runtime.database import known_revisions, open_database

    try:
        open_database(settings.database_url).dispose()
    except Exception as error:
        known = recognise(error)
        if known is None:
            raise
        typer.echo(known.message, err=True)
        raise typer.Exit(1) from None
    typer.echo(f"The job database has schema {known_revisions()[-1]}.")


@app.command()
def token(
    subject: Annotated[str, typer.Option(help="Who it is for.")] = "developer",
    scope: Annotated[list[str] | None, typer.Option(help="What it allows; may be given several times. Default: admin.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 365, help="How long it is valid.")] = 12.0,
) -> None:
    """Make a token for development, signed with TIMBRE_JWT_SECRET."""
    from pydantic import ValidationError

    from services.runtime import auth
    from services.runtime.errors import TimbreError
    from services.runtime.settings import RuntimeSettings, describe

    scopes = scope or [auth.ADMIN]
    if unknown := [name for name in scopes if name not in auth.SCOPES]:
        typer.echo(f"There is no scope {unknown[0]!r}: use some of {', '.join(auth.SCOPES)}.", err=True)
        raise typer.Exit(2)
    try:
        typer.echo(auth.mint(RuntimeSettings(), subject, scopes, hours * 3600))
    except ValidationError as error:
        typer.echo("\n".join(describe(flaw) for flaw in error.errors()), err=True)
        raise typer.Exit(2) from None
    except TimbreError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from None


@app.command()
def demo(
    model: Annotated[
        str, typer.Option(help="Base model: tiny (a stand-in, nothing is downloaded), xtts_v2, or the path of a folder.")
    ] = "tiny",
    output: Annotated[Path, typer.Option(help="Folder for what it makes; emptied first.")] = Path("demo-output"),
) -> None:
    """Run the whole workflow through the HTTP API, on speech made for it."""
    from timbre.demo.api import DemoFailed
    from timbre.demo.run import run_demo

    try:
        run_demo(model, output)
    except DemoFailed as error:
        typer.echo(f"The demonstration failed: {error}\nWhat the services said is in {output / 'stack.log'}.", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
