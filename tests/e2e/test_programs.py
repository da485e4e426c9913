"""The examples of docs/programs.md as they stand there, and the commands and clients beyond them, against a real stack."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.stack import Stack
from timbre import AsyncClient, Client, errors
from timbre.client.events import Changed, Ended, LogLine
from timbre.commands.speech import play
from timbre.serve import SERVICES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()
BINARIES = Path(sys.executable).parent

pytestmark = pytest.mark.timeout(900)  # the first may have to make the stand-in models


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.M | re.S)


def addresses(stack: Stack) -> dict[str, str]:
    """Where the services of a stack listen, as its log says."""
    said = re.search(r"gRPC (.*?) ·", stack.log())
    assert said is not None
    found = dict(pair.split(" ") for pair in said.group(1).split(", "))
    assert set(found) == set(SERVICES)
    return found


def here(text: str, stack: Stack, media: str) -> str:
    """An example with the addresses of this stack."""
    where = addresses(stack)
    text = text.replace("127.0.0.1:50051", where["dataset"]).replace("127.0.0.1:50052", where["trainer"])
    text = text.replace("localhost:8000", f"127.0.0.1:{stack.port}")
    return text.replace("https://youtube.com/watch?v=VIDEO_ID", f"{media}/voice-1.wav")


class Shell:
    """Runs commands as a user does, in a folder of its own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "TIMBRE_URL": f"http://127.0.0.1:{stack.port}",
            "PATH": f"{folder / 'bin'}:{BINARIES}:/usr/bin:/bin",
            "PYTHONWARNINGS": "error",
        }

    def run(self, *words: str, code: int = 0, text: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, input=text, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run("timbre", *words, "--json").stdout)


@pytest.fixture
def shell(stack: Stack, tmp_path: Path) -> Shell:
    return Shell(stack, tmp_path)


@pytest.fixture(scope="module")
def made(stack: Stack, media: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command lines of the document make, one after the other; in a module of their own they come first."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "interview.mp3").write_bytes(httpx.get(f"{media}/voice-2.wav").content)
    shell = Shell(stack, folder)
    for line in blocks("bash")[0].splitlines():
        shell.run("sh", "-c", here(line.partition("#")[0], stack, media))
    return folder


def test_the_command_lines_work(made: Path, shell: Shell, stack: Stack) -> None:
    with wave.open(str(made / "speech.wav")) as speech:
        assert (speech.getframerate(), speech.getnchannels(), speech.getsampwidth()) == (22_050, 1, 2)
        assert speech.getnframes() > 2_000
    (dataset,) = shell.json("datasets")["datasets"]
    assert (dataset["folder"], dataset["sources"], dataset["transcribed_percent"]) == ("datasets/my_voice", 1, 100.0)
    assert shell.json("status")["training"]["state"] == "completed"
    assert {row["path"] for row in shell.json("checkpoints")} == {
        row["path"] for row in stack.get("/training/checkpoints", model_name="my_voice_model")
    }
    kinds = [job["kind"] for job in shell.json("jobs")["jobs"]]
    assert kinds == ["trainer.train", "dataset.transcribe", "dataset.segment"]
    assert "Epoch 10/10 - Loss" in shell.run("timbre", "logs").stdout
    lines = [json.loads(line) for line in shell.run("timbre", "logs", "--follow", "--json").stdout.splitlines()]
    sequences = [line["sequence"] for line in lines]
    assert sequences == sorted(set(sequences))
    assert "\n".join(line["text"] for line in lines) == shell.json("logs")["logs"]
    assert "datasets/my_voice" in shell.run("timbre", "datasets").stdout


def test_the_python_examples_work(made: Path, shell: Shell, stack: Stack, media: str) -> None:
    (shell.folder / "interview.mp3").write_bytes((made / "interview.mp3").read_bytes())
    answers = []
    for example in blocks("python"):
        ours = here(example, stack, media).replace('"my_voice_model"', '"my_second_model"')
        answers.append(shell.run(sys.executable, "-c", ours).stdout)
    client, handled, asynchronous, _, direct = answers
    assert "existed" in client
    assert "%" in client
    assert (shell.folder / "speech.wav").stat().st_size > 5_000
    assert (shell.folder / "speech.pcm").stat().st_size > 1_000
    assert re.fullmatch(r"0\.\d+ hours\n", handled)
    assert "Ended(state='succeeded')" in asynchronous
    assert (shell.folder / "bom-dia.mp3").stat().st_size > 1_000
    assert re.fullmatch(r"\d+ segments\n", direct)


def test_grpcurl_finds_its_way(made: Path, shell: Shell, stack: Stack, media: str) -> None:
    listed, stats, jobs = (shell.run("sh", "-c", here(line, stack, media)).stdout for line in blocks("bash")[1].splitlines())
    assert "timbre.dataset.v1.DatasetService" in listed.splitlines()
    said = stack.get("/training/dataset/stats", folder="datasets/my_voice")
    assert json.loads(stats)["transcribed_percent"] == said["transcribed_percent"] > 0
    assert len(json.loads(jobs)["jobs"]) == 3


def test_exit_codes_and_errors(made: Path, shell: Shell) -> None:
    refused = shell.run("timbre", "segment", "nothing_here", code=1)
    assert refused.stderr == "datasets/nothing_here has no recordings: download some or upload your own first.\n"
    assert json.loads(shell.run("timbre", "cancel", "job_x", "--json", code=1).stderr)["reason"] == "JOB_NOT_FOUND"
    assert "from 3 to 15" in shell.run("timbre", "segment", "my_voice", "--min-duration", "99", code=2).stderr
    assert "There is no file" in shell.run("timbre", "upload", "my_voice", "not-here.wav", code=2).stderr
    assert "cannot be reached" in shell.run("timbre", "status", "--url", "http://127.0.0.1:1", code=3).stderr
    (shell.folder / "notes.wav").write_text("no audio")
    (shell.folder / "again.mp3").write_bytes((made / "interview.mp3").read_bytes())
    both = shell.run("timbre", "upload", "my_voice", "notes.wav", "again.mp3", "--json", code=1)
    assert [file["status"] for file in json.loads(both.stdout)["files"]] == ["failed", "existed"]
    started = shell.json("transcribe", "my_voice", "--no-wait")
    assert started["status"] == "started"
    shell.run("timbre", "logs", "-f", started["job_id"])


def test_speech_is_played_by_what_is_there(made: Path, shell: Shell) -> None:
    nothing = {**shell.environment, "PATH": str(BINARIES)}
    done = subprocess.run(["timbre", "say", "Olá."], env=nothing, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--output" in done.stderr
    player = shell.folder / "bin" / "pw-cat"
    player.parent.mkdir()
    player.write_text('#!/bin/sh\necho "$@" > arguments\ncat > heard\n')
    player.chmod(player.stat().st_mode | stat.S_IXUSR)
    said = shell.run("timbre", "say", "-", "--json", text="Olá, mundo.")
    seconds = (shell.folder / "heard").stat().st_size / 2 / 22_050
    assert json.loads(said.stdout)["duration"] == pytest.approx(seconds)
    assert seconds > 0  # how long it speaks is up to the random weights
    assert "--rate=22050" in (shell.folder / "arguments").read_text()


def test_pieces_may_end_in_the_middle_of_a_sample(tmp_path: Path) -> None:
    played = play(("tee", str(tmp_path / "heard")), iter([b"\x00" * 3, b"\x00" * 5, b"\x00" * 2]))
    assert (played, (tmp_path / "heard").stat().st_size) == (5, 10)


def test_the_doctor_says_how_to_mend(shell: Shell, stack: Stack) -> None:
    shell.environment |= {"TIMBRE_DATA_DIR": str(shell.folder), "TIMBRE_PORT": str(stack.port), "TIMBRE_PROT": "8000"}
    findings = json.loads(shell.run("timbre", "doctor", "--json", code=1).stdout)
    found = {(row["subject"], row["state"]) for row in findings}
    assert {
        ("ffmpeg", "good"),
        ("Port", "good"),
        ("Object store", "good"),
        ("Base model", "bad"),
        ("Settings", "note"),
    } <= found
    assert all(row["mend"] for row in findings if row["state"] == "bad")
    shell.environment |= {
        "TIMBRE_BASE_MODEL": "tiny",
        "TIMBRE_WHISPER_MODEL": "tiny-demo",
        "TIMBRE_DATABASE_URL": "sqlite:///x.db",
    }
    assert "stand-in" in shell.run("timbre", "doctor").stdout
    shell.environment |= {"TIMBRE_DATABASE_URL": "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"}
    refused = shell.run("timbre", "doctor", code=1).stdout
    assert "127.0.0.1:1" in refused
    assert "secret" not in refused


def test_jobs_are_followed_and_stopped(made: Path, stack: Stack) -> None:
    with Client(f"http://127.0.0.1:{stack.port}") as client:
        handle = client.train("stopped_model", "datasets/my_voice", epochs=1000, learning_rate=1e-3)
        with pytest.raises(errors.BadRequest, match="running"):
            client.train("another_model", "datasets/my_voice")
        with pytest.raises(TimeoutError, match="it goes on"):
            handle.wait(timeout=0.01)
        kinds: set[type] = set()
        for event in handle.events():
            kinds.add(type(event))
            if isinstance(event, LogLine) and event.text.startswith("Epoch 1/"):
                handle.cancel()
        assert kinds == {Changed, LogLine, Ended}
        with pytest.raises(errors.JobStopped):
            handle.wait()
        assert "Epoch 1/1000" in handle.log()


async def test_the_asynchronous_client_does_the_same(made: Path, stack: Stack, tmp_path: Path) -> None:
    sent: list[tuple[int, int | None]] = []
    async with AsyncClient(f"http://127.0.0.1:{stack.port}") as client:
        file = made / "interview.mp3"
        stored = await client.upload("datasets/other", file, progress=lambda done, total: sent.append((done, total)))
        assert stored.files[0].status == "stored"
        assert sent[-1] == (file.stat().st_size, file.stat().st_size)
        changes: list[float] = []
        job = await (await client.segment("datasets/other")).wait(on_change=lambda job: changes.append(job.progress))
        assert job.state == "succeeded"
        assert changes[-1] == 100
        with pytest.raises(errors.NotFound):
            await client.segment("datasets/nothing_here")
        spoken = await client.synthesize("Olá.", (await client.checkpoints())[0].path)
        path = await client.save(spoken.audio_url, tmp_path / "a.wav")
        assert path.read_bytes() == await client.fetch(spoken.audio_url)
        pieces = [piece async for piece in client.stream("Olá.", (await client.checkpoints())[0].path)]
        assert sum(map(len, pieces)) > 1_000


# The last one of this module: afterwards the services listen elsewhere.
def test_what_is_waited_for_outlasts_a_restart(made: Path, shell: Shell, stack: Stack) -> None:
    with Client(f"http://127.0.0.1:{stack.port}") as client, ThreadPoolExecutor() as pool:
        handle = client.train("restarted_model", "datasets/my_voice", epochs=1000, learning_rate=1e-3)
        waiting = pool.submit(handle.wait)
        following = pool.submit(shell.run, "timbre", "logs", "--follow", handle.id, "--json", code=5)
        events = handle.events()
        epochs = (event.text for event in events if isinstance(event, LogLine) and event.text.startswith("Epoch "))
        before = next(epochs)
        stack.stop()
        stack.start()
        assert next(epochs) != before
        handle.cancel()
        assert isinstance([*events][-1], Ended)
        with pytest.raises(errors.JobStopped):
            waiting.result(timeout=300)
        told = [json.loads(line)["sequence"] for line in following.result(timeout=300).stdout.splitlines()]
    assert told == sorted(set(told))
