"""The commands against a server that answers as written down: what they print, and what they say of what went wrong."""

from __future__ import annotations

import io
import json
import os
import wave
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tests.client.conftest import Reply, Scripted
from timbre.cli import app
from timbre.client.transfer import whole_file
from timbre.commands import session
from timbre.commands.session import Session
from timbre.commands.speech import write

LINE = "[download] 100% of [/tmp/a.webm] :warning: " + "and so on " * 40
JOB: dict[str, Any] = {
    "id": "job_1", "kind": "dataset.download", "subject": "datasets/a", "state": "failed", "progress": 40.0, "message": "",
    "remaining_seconds": None, "attempts": 1, "stop_requested": False, "error": "[youtube] It is [private].", "parameters": {},
    "result": None, "created_at": "2026-01-01T00:00:00Z", "started_at": None, "ended_at": None,
}  # fmt: skip


def run(scripted: Scripted, *words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, words, env={"TIMBRE_URL": scripted.url, "TIMBRE_TOKEN": ""})
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return done


def test_what_is_printed_is_whole_and_as_it_was_written(scripted: Scripted) -> None:
    scripted.replies = [
        Reply(200, {"job_id": "job_1", "logs": LINE, "last_sequence": 1}),
        Reply(200, {"jobs": [{**JOB, "subject": "datasets/" + "long_name" * 12}], "total": 1}),
    ]
    assert run(scripted, "logs", "job_1").stdout == f"{LINE}\n"
    row = run(scripted, "jobs").stdout.splitlines()[3]
    assert "[youtube] It is [private]." in row
    assert "long_name" * 12 in row


def test_nothing_is_coloured_where_there_is_no_terminal(scripted: Scripted) -> None:
    scripted.replies = [Reply(200, {"jobs": [JOB], "total": 1})]
    assert "\x1b" not in run(scripted, "jobs").stdout
    assert "\x1b" not in run(scripted, "doctor", code=1).stdout


def test_a_narrow_terminal_gets_all_of_a_row(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), width=60, markup=False)
    monkeypatch.setattr(session, "console", lambda **_: terminal)
    scripted.replies = [Reply(200, {"jobs": [JOB], "total": 1})]
    run(scripted, "jobs")
    assert isinstance(terminal.file, io.StringIO)
    drawn = terminal.file.getvalue()
    assert max(map(len, drawn.splitlines())) <= 60
    assert "…" not in drawn
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in drawn.splitlines() if line.startswith("│")]
    assert ["".join(column) for column in zip(*cells, strict=True)][:4] == ["job_1", "dataset.download", "datasets/a", "failed"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("segment",), "Missing argument"),
        (("segmnt", "a"), "Did you mean"),
        (("jobs", "--limit", "0"), "--limit"),
        (("jobs", "--bogus"), "--bogus"),
        (("upload", "a", "not-here.wav"), "There is no file not-here.wav"),
        (("say", "Olá.", "--output", "a.mp3"), "no name of a WAV"),
        (("status", "--url", "localhost:8000"), "http://"),
        (("token", "--scope", "everything"), "There is no scope 'everything'"),
    ],
)
def test_wrong_use_is_told_in_json_too(scripted: Scripted, words: tuple[str, ...], sentence: str) -> None:
    done = run(scripted, *words, "--json", code=2)
    assert sentence in json.loads(done.stderr)["detail"]
    assert done.stdout == ""
    assert scripted.asked == []
    assert run(scripted, *words, code=2).stderr


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (404, 1), (422, 2), (429, 1), (500, 1), (503, 3)])
def test_exit_codes(scripted: Scripted, status: int, code: int) -> None:
    scripted.replies = [Reply(status, {"detail": "Do this."}, {"Retry-After": "3600"})]
    done = run(scripted, "cancel", "job_1", "--json", code=code)
    assert json.loads(done.stderr) == {"detail": "Do this."}


def test_every_command_answers_in_json() -> None:
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    names = [line.split()[1] for line in listed.splitlines() if line.startswith("│ ") and not line.startswith(("│ -", "│  "))]
    assert len(names) == len(app.registered_commands)
    for name in names:
        assert "--json" in CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout, name


def test_the_version_is_said() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout.split()[0]) == (0, "timbre")


def test_a_wav_is_whole_wherever_the_network_cuts_it(tmp_path: Path) -> None:
    samples = bytes(range(200))
    target = tmp_path / "a.wav"
    assert write(target, [samples[:7], samples[7:8], b"", samples[8:51], samples[51:]]) == 100
    with wave.open(str(target)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getnframes()) == (22_050, 1, 100)
        assert wav.readframes(100) == samples

    def breaks() -> Any:
        yield samples
        raise OSError("It broke.")

    with pytest.raises(OSError, match="It broke"):
        write(target, breaks())
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    with wave.open(str(target)) as wav:
        assert wav.readframes(100) == samples


def test_beside_json_nothing_is_said_to_programs_but_errors(
    scripted: Scripted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from timbre import Client

    with Client(scripted.url) as client:
        Session(client, as_json=True).console.print("for people")
        assert capsys.readouterr() == ("", "")
        monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
        Session(client, as_json=True).console.print("for people")
    assert capsys.readouterr() == ("", "for people\n")


def test_what_other_commands_are_given_is_shown_in_one_piece(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), width=80, markup=False)
    monkeypatch.setattr(session, "console", lambda **_: terminal)
    scripted.replies = [Reply(200, {"jobs": [{**JOB, "id": "job_066108091c8ca581808368"}], "total": 1})]
    run(scripted, "jobs")
    assert isinstance(terminal.file, io.StringIO)
    assert "job_066108091c8ca581808368" in terminal.file.getvalue()


def test_a_pipe_and_a_device_are_written_to_and_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with whole_file(tmp_path / "link") as file:
        file.write(b"audio")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_bytes() == b"audio"
    with whole_file(Path(os.devnull)) as file:
        file.write(b"audio")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("say", "ol\udcff", "-o", "a.wav", "-c", "base"), "text holds bytes that are no UTF-8"),
        (("say", "oi", "-o", "a.wav", "-c", "base", "--speed", "nan"), "speed is nan"),
        (("segment", "a", "--min-duration", "inf"), "min_duration is inf"),
        (("ab", "oi", "-c", "base"), "no trained voice to compare"),
    ],
)
def test_what_cannot_be_sent_is_told_in_a_sentence(
    scripted: Scripted, words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in run(scripted, *words, code=2).stderr.replace("\n", " ")
    assert not scripted.asked


def test_one_file_that_is_refused_keeps_no_archive_back(scripted: Scripted, tmp_path: Path) -> None:
    for name in ("a.wav", "one.zip", "two.zip"):
        (tmp_path / name).write_bytes(b"x")
    refused = Reply(400, {"detail": "It is no audio.", "reason": "AUDIO_UNREADABLE"})
    scripted.replies = [refused, refused, refused]
    done = run(scripted, "upload", "a", *(str(tmp_path / name) for name in ("a.wav", "one.zip", "two.zip")), code=1)
    assert len(scripted.asked) == 3
    assert "two.zip: It is no audio." in done.stderr


def test_of_a_job_that_failed_programs_get_all(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    from gateway.schemas.jobs import Job
    from timbre import errors

    job = Job.model_validate({**JOB, "error_reason": "NOTHING_DOWNLOADED"})
    with pytest.raises(typer.Exit) as ended, session.session(scripted.url, None, as_json=True):
        raise errors.JobFailed(job)
    assert ended.value.exit_code == session.JOB_NOT_DONE
    told = json.loads(capsys.readouterr().err)
    assert (told["job"]["id"], told["job"]["error_reason"]) == ("job_1", "NOTHING_DOWNLOADED")
