"""`timbre doctor`: whether this machine has what Timbre needs, and how to mend what is missing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from timbre.commands.session import FAILED, AsJson, console, print_json

_GIBIBYTE = 1024**3
# XTTS-v2 and Whisper take 2.5 GB, a checkpoint of it 1.7 GB, and a training keeps several.
_LOW_DISK_BYTES, _LEAST_DISK_BYTES = 20 * _GIBIBYTE, 5 * _GIBIBYTE
# XTTS-v2 fine-tunes in 11 GB with a batch of 2, and speaks in 4.
_TRAINING_BYTES, _SPEAKING_BYTES = 11 * _GIBIBYTE, 4 * _GIBIBYTE
_PROGRAM_SECONDS = 20
_MARKS = {"good": ("✓", "green"), "note": ("!", "yellow"), "bad": ("✗", "red")}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        subject: What was looked at.
        state: `good`; `note`: it works, but not as well as it could; `bad`: something will fail.
        found: What there is.
        mend: What to do; empty when nothing needs to be done.
    """

    subject: str
    state: Literal["good", "note", "bad"]
    found: str
    mend: str = ""


def doctor(
    data_dir: Annotated[Path, typer.Option(envvar="TIMBRE_DATA_DIR", help="Where everything is kept.")] = Path(".timbre"),
    host: Annotated[str, typer.Option(envvar="TIMBRE_HOST", help="Address the gateway would listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="TIMBRE_PORT", help="Its port.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Check this machine: settings, GPU, ffmpeg, disk, models, database, store, port. Exit code 1: something will fail."""
    findings = list(examine(data_dir, host, port))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _draw(findings)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(FAILED)


def examine(data_dir: Path, host: str, port: int) -> Iterator[Finding]:
    """Looks at everything, one thing after the other; a check that breaks is a finding too."""
    yield from _settings(data_dir)
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("GPU", _gpu),
        ("ffmpeg", _ffmpeg),
        ("Disk", lambda: _disk(data_dir)),
        ("Base model", lambda: _base_model(data_dir)),
        ("Whisper", lambda: _whisper(data_dir)),
        ("Database", lambda: _database(data_dir)),
        ("Object store", lambda: _store(data_dir)),
        ("Port", lambda: _port(host, port)),
    )
    for subject, check in checks:
        try:
            yield check()
        except Exception as error:  # whatever breaks is what the user came to hear of
            yield Finding(
                subject, "bad", f"{type(error).__name__}: {error}", "Mend what this says, then run timbre doctor again."
            )


def _settings(data_dir: Path) -> Iterator[Finding]:
    """Reads every settings class, as the processes will; says each value that they would refuse."""
    from pydantic import ValidationError

    from gateway.settings import GatewaySettings
    from services.dataset.settings import DatasetSettings
    from services.inference.settings import InferenceSettings
    from services.runtime.settings import describe
    from services.trainer.settings import TrainerSettings

    flaws: dict[str, None] = {}
    known: set[str] = set()
    for kind in (GatewaySettings, DatasetSettings, TrainerSettings, InferenceSettings):
        known |= {f"TIMBRE_{name.upper()}" for name in kind.model_fields}
        try:
            kind(data_dir=data_dir)
        except ValidationError as error:
            flaws |= dict.fromkeys(map(describe, error.errors()))
    for flaw in flaws:
        yield Finding("Settings", "bad", flaw, "Correct the environment variable; docs/operations.md describes each.")
    ours = {name for name in os.environ if name.startswith("TIMBRE_")} - {"TIMBRE_URL", "TIMBRE_TOKEN", "TIMBRE_CA_FILE"}
    for name in sorted(ours - known):
        yield Finding("Settings", "note", f"{name} is set, and nothing reads it", "Check the spelling.")
    if not flaws:
        yield Finding("Settings", "good", f"{len(ours & known)} set in the environment, all fit")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        driver = shutil.which("nvidia-smi") is not None
        mend = "The driver is there and torch cannot use it: update the driver." if driver else "Train on a machine with one."
        return Finding(
            "GPU", "note", f"none that torch {torch.__version__} can use: XTTS-v2 trains very slowly on the CPU", mend
        )
    memory = max(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count()))
    found = f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}, {memory / _GIBIBYTE:.0f} GiB"
    if memory < _SPEAKING_BYTES:
        return Finding("GPU", "note", found, "It is too small for XTTS-v2: set TIMBRE_DEVICE=cpu.")
    if memory < _TRAINING_BYTES:
        return Finding("GPU", "note", found, "It can speak; to train, use batch_size 1, or a larger GPU.")
    return Finding("GPU", "good", found)


def _ffmpeg() -> Finding:
    from imageio_ffmpeg import get_ffmpeg_exe

    program = get_ffmpeg_exe()
    command = [program, "-hide_banner", "-version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=True).stdout
    return Finding("ffmpeg", "good", " ".join(said.split()[:3]))


def _disk(data_dir: Path) -> Finding:
    folder = data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Finding("Disk", "bad", f"{folder} cannot be written to", "Choose another folder by TIMBRE_DATA_DIR.")
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIBIBYTE:.0f} GiB free at {folder}"
    if free < _LEAST_DISK_BYTES:
        return Finding("Disk", "bad", found, "Free some, or choose another folder by TIMBRE_DATA_DIR.")
    if free < _LOW_DISK_BYTES:
        return Finding("Disk", "note", found, "Enough to begin with; a checkpoint of XTTS-v2 takes 1.7 GB.")
    return Finding("Disk", "good", found)


def _base_model(data_dir: Path) -> Finding:
    from services.trainer.settings import TrainerSettings
    from services.xtts.base import LICENCE_SETTING, LicenceNotAccepted, check_base, published_folder, resolve_base

    settings = TrainerSettings(data_dir=data_dir)
    name, cache = settings.base_model, settings.models_dir
    if name == "tiny":
        return Finding("Base model", "note", "tiny, a stand-in that does not really speak", "Set TIMBRE_BASE_MODEL=xtts_v2.")
    if name == "xtts_v2" and not published_folder(cache).exists():
        if settings.accept_xtts_license:
            return Finding("Base model", "note", "xtts_v2, not here yet", "Nothing: the first use fetches it (2.1 GB).")
        return Finding("Base model", "bad", f"xtts_v2, not here, and {LICENCE_SETTING} is not set", str(LicenceNotAccepted()))
    folder = published_folder(cache) if name == "xtts_v2" else resolve_base(name, cache)
    check_base(folder)
    return Finding("Base model", "good", f"{name} in {folder}")


def _whisper(data_dir: Path) -> Finding:
    from services.dataset.settings import DatasetSettings
    from services.dataset.whisper_models import STAND_IN

    settings = DatasetSettings(data_dir=data_dir)
    name = settings.whisper_model
    if name == STAND_IN:
        mend = "Set TIMBRE_WHISPER_MODEL=base, or a larger one."
        return Finding("Whisper", "note", f"{name}, a stand-in that knows only the demonstration's sentences", mend)
    path = Path(name).expanduser() if "/" in name else settings.models_dir / "whisper" / f"{name}.pt"
    if path.is_file():
        return Finding("Whisper", "good", f"{name} in {path.parent}")
    if "/" in name:
        return Finding("Whisper", "bad", f"there is no {path}", "Name a file that is there by TIMBRE_WHISPER_MODEL.")
    return Finding("Whisper", "note", f"{name}, not here yet", "Nothing: the first transcription fetches it.")


def _database(data_dir: Path) -> Finding:
    import sqlalchemy as sa

    from services.runtime.database import connect, known_revisions, reading
    from services.runtime.settings import RuntimeSettings

    url = sa.make_url(RuntimeSettings(data_dir=data_dir).database_url)
    where = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        return Finding("Database", "good", f"{where}, made at the first start")
    engine = connect(url.render_as_string(hide_password=False))
    try:
        with reading(engine) as connection:
            fresh = not sa.inspect(connection).has_table("alembic_version")
            revision = None if fresh else connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    except sa.exc.OperationalError as error:
        return Finding(
            "Database", "bad", f"{where}: {str(error.orig).splitlines()[0]}", "Start it, or correct TIMBRE_DATABASE_URL."
        )
    finally:
        engine.dispose()
    if revision is not None and revision not in known_revisions():
        return Finding("Database", "bad", f"{where} has schema {revision}", "A newer Timbre wrote it: start that one.")
    return Finding("Database", "good", f"{where}, schema {revision or 'made at the first start'}")


def _store(data_dir: Path) -> Finding:
    from services.runtime.settings import RuntimeSettings
    from services.runtime.store import open_store

    settings = RuntimeSettings(data_dir=data_dir)
    key = f"doctor/{os.getpid()}.txt"
    store = open_store(settings.storage_url, settings.s3_credentials)
    store.put(key, b"written by timbre doctor", "text/plain")
    kept = store.get(key)
    store.delete(key)
    assert kept == b"written by timbre doctor"
    return Finding("Object store", "good", f"{settings.storage_url.partition('?')[0]} takes objects and gives them back")


def _port(host: str, port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if _is_timbre(host, port):
                return Finding("Port", "good", f"Timbre answers on {host}:{port}")
            mend = "Stop what listens there, or choose another by --port or TIMBRE_PORT."
            return Finding("Port", "bad", f"{host}:{port} cannot be had ({error.strerror})", mend)
    return Finding("Port", "good", f"{host}:{port} is free")


def _is_timbre(host: str, port: int) -> bool:
    from timbre import Client, errors

    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    try:
        with Client(f"http://{local}:{port}", "", timeout=5, retries=0) as client:
            return client.healthy().status == "ok"
    except (errors.Error, ValueError):
        return False


def _draw(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "Found", "What to do", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(Text(*_MARKS[finding.state]), finding.subject, finding.found, finding.mend)
    console(plain_width=160).print(table)
