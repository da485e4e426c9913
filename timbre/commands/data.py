"""`timbre datasets`, `download`, `upload`, `segment`, `transcribe`: from recordings to segments with transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timbre.commands.session import (
    FAILED,
    JOB_NOT_DONE,
    AsJson,
    Folder,
    NoWait,
    Session,
    Token,
    Url,
    dataset,
    session,
    table,
    tell,
)

if TYPE_CHECKING:
    from gateway.schemas.jobs import Job

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def datasets(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the datasets and how far each has come."""
    from timbre.demo.show import minutes

    with session(url, token, as_json) as now:
        found = now.client.datasets()
        numbers = ("Recordings", "Segments", "Length", "Transcribed", "To check")
        drawn = table("Dataset", *numbers, numbers=numbers)
        for one in found.datasets:
            figures = (one.sources, one.files, minutes(one.total_hours * 3600), f"{one.transcribed_percent:.0f} %", one.flagged)
            drawn.add_row(one.folder, *map(str, figures))
        now.show(found, drawn if found.datasets else "There is none yet: timbre upload NAME FILE makes the first.")


def download(
    folder: Folder,
    urls: Annotated[list[str], typer.Argument(help="Pages with a recording: YouTube's hosts are allowed by default.")],
    no_wait: NoWait = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Download the audio of videos into a dataset."""
    with session(url, token, as_json) as now:
        now.follow(now.client.download(dataset(folder), urls), "Download", wait=not no_wait, made=made_by)


def upload(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="Recordings in any format that ffmpeg reads, or an LJSpeech archive.")],
    language: Annotated[str, typer.Option(help="Language of an archive's transcripts.")] = "pt",
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Upload recordings of your own, or LJSpeech archives (zip, tar)."""
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise typer.BadParameter(f"There is no file {missing[0]}.", param_hint="FILES")
    with session(url, token, as_json) as now:
        archives = [file for file in files if file.name.lower().endswith(_ARCHIVES)]
        recordings = [file for file in files if file not in archives]
        codes = [_upload_recordings(now, dataset(folder), recordings)] if recordings else []
        codes += [_upload_archive(now, dataset(folder), archive, language) for archive in archives]
        if any(codes):
            raise typer.Exit(max(codes))


def segment(
    folder: Folder,
    min_duration: Annotated[float | None, typer.Option(help="Shortest segment in seconds, 3 to 15. Default: 7.")] = None,
    max_duration: Annotated[float | None, typer.Option(help="Longest segment in seconds, 5 to 20. Default: 12.")] = None,
    vad_threshold: Annotated[float | None, typer.Option(help="What counts as speech, -60 to -20 dB. Default: -40.")] = None,
    no_wait: NoWait = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Cut the recordings of a dataset into segments at pauses."""
    with session(url, token, as_json) as now:
        knobs = {"min_duration": min_duration, "max_duration": max_duration, "vad_threshold": vad_threshold}
        now.follow(now.client.segment(dataset(folder), **knobs), "Segment", wait=not no_wait, made=made_by)


def transcribe(
    folder: Folder,
    language: Annotated[str | None, typer.Option(help="Language that is spoken. Default: pt.")] = None,
    model: Annotated[str | None, typer.Option(help="Whisper model. Default: the server's.")] = None,
    force: Annotated[bool, typer.Option(help="Also what has a transcript, unless a person edited it.")] = False,
    no_wait: NoWait = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Write down what is said in the segments of a dataset."""
    with session(url, token, as_json) as now:
        started = now.client.transcribe(dataset(folder), language=language, model=model, force=force)
        now.follow(started, "Transcribe", wait=not no_wait, made=made_by)


def _upload_archive(now: Session, folder: str, archive: Path, language: str) -> int:
    """Sends an archive and waits for its import; returns an exit code, since one that is refused does not keep the others."""
    from timbre import errors
    from timbre.demo.show import bar

    try:
        with bar(now.console, archive.name) as show:
            handle = now.client.import_archive(
                folder, archive, language=language, progress=lambda done, total: show(done / (total or done or 1))
            )
        now.follow(handle, "Import", wait=True, made=made_by)
    except (errors.BadRequest, errors.TooLarge, errors.JobFailed) as error:
        tell(f"{archive.name}: {error}", now.as_json)
        return JOB_NOT_DONE if isinstance(error, errors.JobFailed) else FAILED
    return 0


def _upload_recordings(now: Session, folder: str, files: list[Path]) -> int:
    """Sends files one after the other, and returns an exit code, since one that is refused does not keep the others."""
    from gateway.schemas.dataset import Uploaded, UploadedFile
    from timbre import errors
    from timbre.demo.show import bar, minutes

    results: list[UploadedFile] = []
    for file in files:
        try:
            with bar(now.console, file.name) as show:
                sent = now.client.upload(folder, file, progress=lambda done, total: show(done / (total or done or 1)))
            results += sent.files
        except (errors.NotFound, errors.BadRequest, errors.InvalidArgument, errors.TooLarge) as error:
            if "folder" in error.fields:
                raise  # it is the same with each
            results.append(UploadedFile(name=file.name, status="failed", detail=error.detail))
    lines = [f"  {one.name}: {one.detail or f'{one.status}, {minutes(one.duration or 0)}, {one.path}'}" for one in results]
    now.show(Uploaded(folder=folder, files=results), "\n".join(lines))
    return FAILED if any(one.status == "failed" for one in results) else 0


def made_by(job: Job) -> str:
    """Says what a job on a dataset has made, and what it could not do, a line each."""
    from timbre.demo.show import minutes

    result = job.result or {}
    count = {
        "dataset.download": "{stored} stored, {present} there already, {failed} failed",
        "dataset.segment": "{segments} segments, {length} in all",
        "dataset.transcribe": "{transcribed} transcribed, {skipped} had a transcript already",
        "dataset.import": "{imported} imported, {present} there already",
    }[job.kind].format(**result, length=minutes(result.get("hours", 0) * 3600))
    if job.kind == "dataset.download":
        troubles = [f"{video['url']}: {video['detail']}" for video in result["videos"] if video["status"] == "failed"]
    elif job.kind == "dataset.import":
        troubles = list(map(str, result["problems"]))
    else:
        troubles = [f"{name}: {reason}" for name, reason in result["failed"].items()]
    return "\n  ".join([count, *troubles])
