"""`timbre demo`: the documented workflow from nothing to an A/B comparison, only through the HTTP API.

It speaks two recordings itself (espeak-ng), puts them on a local web server, starts a Timbre of its own on free ports, and
then does what a user would do: download, segment, transcribe, train, watch, list and load checkpoints, synthesize, compare.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from services.runtime.errors import TimbreError
from timbre import Client, errors
from timbre.demo import steps
from timbre.demo.api import DemoFailed, Run
from timbre.demo.check import AudioWrong
from timbre.demo.show import Done, closing_table, sparkline
from timbre.demo.speech import SpeechError
from timbre.demo.stack import StackFailed, running_stack, web_server

_PLAIN_WIDTH = 120  # columns where there is no terminal to ask


def run_demo(
    model: str, output: Path, console: Console | None = None, *, as_json: bool = False, keep: bool = False
) -> list[Done]:
    """Runs the whole workflow and shows what it made.

    Args:
        model: Base model: `tiny`, `xtts_v2` or the path of a folder. With `tiny`, Whisper is a stand-in too.
        output: Folder for everything that is made; what an earlier run left there is removed.
        console: Where to show it; by default the terminal.
        keep: Whether to leave Timbre running at the end, until Ctrl-C, so that the page can be looked at.
        as_json: Whether standard output is for something else: it is then shown on standard error.

    Returns:
        What each step made.

    Raises:
        DemoFailed: A step failed; everything is stopped by then.
    """
    console = console or _console(stderr=as_json)
    output = output.absolute()
    # So that the stack is stopped on SIGTERM, too, on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _clear(output)
    _introduce(console, model)
    began = time.monotonic()
    try:
        _check_model(model)
        with (
            running_stack(output / "data", output / "stack.log", _environment(model)) as url,
            web_server(output / "recordings") as recordings,
            Client(url, "") as client,
        ):
            run = Run(client, console, output, model)
            run.done.append(Done("Start", "gateway, dataset, trainer and inference service", time.monotonic() - began))
            _work(run, recordings)
            if keep:
                _keep(run, url)
            else:
                console.print(f"\nThe page, with all of this: {_page_command(run)}", highlight=False, soft_wrap=True)
            return run.done
    except (StackFailed, AudioWrong, SpeechError, TimbreError, errors.Error) as error:
        raise DemoFailed(str(error) or type(error).__name__) from error


def _console(*, stderr: bool) -> Console:
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=_PLAIN_WIDTH)


def _clear(output: Path) -> None:
    """Removes what an earlier run made, and only that."""
    for folder in ("data", "recordings", "audio"):
        shutil.rmtree(output / folder, ignore_errors=True)
        (output / folder).mkdir(parents=True)
    for file in ("loss.png", "stack.log"):
        (output / file).unlink(missing_ok=True)


def _check_model(model: str) -> None:
    """Sees now, and not after minutes, whether the base model can be had.

    Raises:
        TimbreError: Its licence is not accepted, it is unknown, or its folder lacks files.
    """
    if model == "tiny":
        return
    from services.trainer.settings import TrainerSettings
    from services.xtts.base import resolve_base

    if model != "xtts_v2" or not TrainerSettings().accept_xtts_license:  # once accepted, the training fetches it
        resolve_base(model, _cache())


def _cache() -> Path:
    """Where models that were made or fetched are kept, from run to run and for `make run` too."""
    return Path(os.environ.get("TIMBRE_CACHE_DIR") or ".timbre/cache").absolute()


def _environment(model: str) -> dict[str, str]:
    """Returns the settings of the stack: its own store and database, but the models that were made or fetched before."""
    stand_in = model == "tiny"
    return {
        "TIMBRE_BASE_MODEL": model,
        "TIMBRE_WHISPER_MODEL": "tiny-demo" if stand_in else os.environ.get("TIMBRE_WHISPER_MODEL", "base"),
        "TIMBRE_CACHE_DIR": str(_cache()),
        "TIMBRE_STORAGE_URL": "",
        "TIMBRE_DATABASE_URL": "",
        "TIMBRE_DOWNLOAD_HOSTS": "127.0.0.1",
        "TIMBRE_DOWNLOAD_ALLOW_PRIVATE": "true",
        "TIMBRE_LOG_FORMAT": "text",
    }


def _introduce(console: Console, model: str) -> None:
    console.print("[bold]Timbre: recordings in, a fine-tuned voice out, all through the HTTP API[/bold]")
    if model == "tiny":
        console.print(
            "Stand-in models (tiny, untrained, made here): they prove the machinery, not the sound. What you will hear is "
            "noise with the rhythm of a model. For real speech: make demo MODEL=xtts_v2\n"
        )


def _work(run: Run, recordings: str) -> None:
    names = run.step("Speak", steps.speak)
    run.step("Download", steps.download, [f"{recordings}/{name}" for name in names])
    run.step("Segment", steps.segment)
    run.step("Transcribe", steps.transcribe)
    run.step("Train", steps.train)
    losses = run.step("Watch", steps.watch)
    checkpoint = run.step("Checkpoints", steps.checkpoints)
    run.step("Load", steps.load, checkpoint)
    said = run.step("Synthesize", steps.synthesize, checkpoint)
    compared = run.step("A/B", steps.compare, checkpoint)
    run.console.print()
    run.console.print(closing_table(run.done))
    run.console.print(f"\nLoss  {sparkline(losses)}  {losses[0]:.2f} → {losses[-1]:.2f}\n", highlight=False)
    run.console.print(steps.files(run, checkpoint, [said, *compared]))


def _keep(run: Run, url: str) -> None:
    """Says where the page is, and waits until the user has seen enough."""
    run.console.print(f"\n[bold]The page, with all of this: {url}/webui[/bold]  (Ctrl-C ends Timbre)", highlight=False)
    try:
        signal.pause()
    except KeyboardInterrupt:
        run.console.print()


def _page_command(run: Run) -> str:
    """Returns how to see on the page what was made, once this Timbre has ended."""
    settings = {"TIMBRE_BASE_MODEL": run.model, "TIMBRE_WHISPER_MODEL": _environment(run.model)["TIMBRE_WHISPER_MODEL"]}
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    data = shlex.quote(os.path.relpath(run.output / "data"))
    return f"TIMBRE_DATA_DIR={data} {words} make run, then http://127.0.0.1:8000/webui"
