"""Any process may be killed at any moment: the job ends with the result of an undisturbed one, and no unit is done twice."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.stack import Stack

VICTIMS = ("worker", "service", "both")


def kill(stack: Stack, job: dict[str, Any], service: str, victim: str) -> None:
    """Kills with SIGKILL: the worker, its service, or both at once."""
    doomed = []
    if victim in ("service", "both"):
        doomed.append(stack.service(service))
    if victim in ("worker", "both"):
        doomed += [process for process in psutil.process_iter(["cmdline"]) if is_worker(process, job["id"])]
        assert len(doomed) == (2 if victim == "both" else 1), "the worker has ended already"
    for process in doomed:
        process.kill()
    psutil.wait_procs(doomed, timeout=10)


def is_worker(process: psutil.Process, job_id: str) -> bool:
    words = process.info["cmdline"] or []
    return job_id in words and "-m" in words


@contextmanager
def watching(folder: Path) -> Iterator[dict[str, set[int]]]:
    """Notes which versions of each finished unit ever exist: two versions of one are a unit that was done twice."""
    versions: dict[str, set[int]] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            with contextlib.suppress(FileNotFoundError):  # what is done with is removed while we look
                for path in folder.rglob("*.json"):
                    versions.setdefault(str(path), set()).add(path.stat().st_mtime_ns)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield versions
    done.set()
    thread.join()


def disturb(stack: Stack, job_id: str, service: str, victim: str, work: Path) -> dict[str, Any]:
    """Kills in the middle of a job and waits for its end; it must have succeeded without repeating a unit."""
    with watching(work) as versions:
        job = stack.until(job_id, lambda job: job["state"] == "running" and job["progress"] > 15)
        assert job["progress"] < 95, "too late to be in the middle"
        kill(stack, job, service, victim)
        ended = stack.done(job_id, seconds=400)
    stack.wait_until_ready()  # the job may be done before its service is back
    assert ended["attempts"] == (1 if victim == "service" else 2)
    assert {path: times for path, times in versions.items() if len(times) > 1} == {}
    return ended


def rows(stack: Stack, folder: str) -> list[dict[str, Any]]:
    """The manifest without what names one store's version of a recording."""
    text = (stack.data_dir / "objects" / folder / "segments.jsonl").read_text()
    return [{key: value for key, value in json.loads(line).items() if key != "fingerprint"} for line in text.splitlines()]


def relative(objects: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {key.removeprefix(folder): value for key, value in objects.items()}


@pytest.fixture(scope="module")
def undisturbed(stack: Stack, media: str) -> str:
    """A dataset made without any disturbance."""
    folder = "datasets/undisturbed"
    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    stack.done(stack.post("/training/dataset/download", {"urls": urls, "folder": folder})["job_id"])
    stack.done(stack.post("/training/dataset/segment", {"folder": folder, "min_duration": 3, "max_duration": 6})["job_id"])
    stack.done(stack.post("/training/dataset/transcribe", {"folder": folder})["job_id"])
    return folder


@pytest.mark.parametrize("victim", VICTIMS)
def test_download(stack: Stack, undisturbed: str, slow_media: str, victim: str) -> None:
    folder = f"datasets/download-{victim}"
    urls = [f"{slow_media}/voice-1.wav", f"{slow_media}/voice-2.wav"]
    started = stack.post("/training/dataset/download", {"urls": urls, "folder": folder})
    disturb(stack, started["job_id"], "dataset", victim, stack.data_dir / "objects" / folder / "raw")
    wavs = {key.rpartition("/")[2].split("-")[1]: v for key, v in stack.objects(f"{folder}/raw").items() if key.endswith("wav")}
    expected = stack.objects(f"{undisturbed}/raw")
    assert wavs == {key.rpartition("/")[2].split("-")[1]: v for key, v in expected.items() if key.endswith("wav")}


@pytest.mark.parametrize("victim", VICTIMS)
def test_segment(stack: Stack, media: str, undisturbed: str, victim: str) -> None:
    folder = f"datasets/segment-{victim}"
    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    stack.done(stack.post("/training/dataset/download", {"urls": urls, "folder": folder})["job_id"])
    started = stack.post("/training/dataset/segment", {"folder": folder, "min_duration": 3, "max_duration": 6})
    disturb(stack, started["job_id"], "dataset", victim, stack.data_dir / "objects" / folder / "work")
    made = relative(stack.objects(f"{folder}/segments"), folder)
    assert made == relative(stack.objects(f"{undisturbed}/segments"), undisturbed)
    assert not stack.objects(f"{folder}/work")


@pytest.mark.parametrize("victim", VICTIMS)
def test_transcribe(stack: Stack, media: str, undisturbed: str, victim: str) -> None:
    folder = f"datasets/transcribe-{victim}"
    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    stack.done(stack.post("/training/dataset/download", {"urls": urls, "folder": folder})["job_id"])
    stack.done(stack.post("/training/dataset/segment", {"folder": folder, "min_duration": 3, "max_duration": 6})["job_id"])
    started = stack.post("/training/dataset/transcribe", {"folder": folder})
    disturb(stack, started["job_id"], "dataset", victim, stack.data_dir / "objects" / folder / "work")
    assert rows(stack, folder) == rows(stack, undisturbed)
    metadata = stack.data_dir / "objects" / folder / "metadata.csv"
    assert metadata.read_bytes() == (stack.data_dir / "objects" / undisturbed / "metadata.csv").read_bytes()


def edit(stack: Stack, folder: str, number: int, **changes: Any) -> None:
    response = stack.client.patch(f"/training/dataset/segments/segment_{number:05d}", params={"folder": folder}, json=changes)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("victim", ["both"])  # the rest of what may die is tested beside the manifest itself
def test_edits_beside_a_transcription(stack: Stack, media: str, undisturbed: str, victim: str) -> None:
    folder = f"datasets/edit-{victim}"
    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    stack.done(stack.post("/training/dataset/download", {"urls": urls, "folder": folder})["job_id"])
    stack.done(stack.post("/training/dataset/segment", {"folder": folder, "min_duration": 3, "max_duration": 6})["job_id"])
    started = stack.post("/training/dataset/transcribe", {"folder": folder})
    job = stack.until(started["job_id"], lambda job: job["state"] == "running" and job["progress"] > 15)
    last = len(rows(stack, folder))
    edit(stack, folder, 1, transcript="De uma pessoa, 2.")
    edit(stack, folder, last, transcript="Também de uma pessoa.", excluded=True)
    kill(stack, job, "dataset", victim)
    stack.wait_until_ready()
    edit(stack, folder, 2, excluded=True)
    stack.done(started["job_id"], seconds=400)
    edit(stack, folder, 3, transcript="No fim.")
    edits = stack.data_dir / "objects" / folder / "edits.json"
    deadline = time.monotonic() + 60
    while edits.exists():  # they are folded into the manifest, whoever was killed
        assert time.monotonic() < deadline, stack.log()[-5000:]
        time.sleep(0.05)
    made, expected = rows(stack, folder), rows(stack, undisturbed)
    texts = {0: "De uma pessoa, 2.", 2: "No fim.", last - 1: "Também de uma pessoa."}
    for number, (row, other) in enumerate(zip(made, expected, strict=True)):
        assert row["transcript"] == texts.get(number, other["transcript"])
        assert (row["edited"], row["excluded"]) == (number in texts, number in (1, last - 1))
    metadata = (stack.data_dir / "objects" / folder / "metadata.csv").read_text().splitlines()
    assert metadata[0] == "segment_00001|De uma pessoa, 2.|De uma pessoa, dois."
    stats = stack.get("/training/dataset/stats", folder=folder)
    assert (stats["transcribed_percent"], stats["excluded"]) == (100.0, 2)
    # Cut anew, the texts stay, and what was exported before says the same.
    exported = stack.client.get("/training/dataset/export", params={"folder": folder})
    assert len(zipfile.ZipFile(io.BytesIO(exported.content)).namelist()) == 1 + last - 2
    stack.done(stack.post("/training/dataset/segment", {"folder": folder})["job_id"])
    kept = [row["transcript"] for row in rows(stack, folder) if row["edited"]]
    assert kept == [texts[number] for number in sorted(texts)]
    gone = stack.client.delete("/training/datasets", params={"folder": folder})
    assert gone.status_code == 200, gone.text
    assert not stack.objects(folder)


@pytest.mark.parametrize("victim", VICTIMS)
def test_import(stack: Stack, undisturbed: str, victim: str) -> None:
    folder, reference = f"datasets/import-{victim}", "datasets/import-undisturbed"
    packed = io.BytesIO()
    root = stack.data_dir / "objects" / undisturbed
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((root / "segments").iterdir()):
            archive.write(path, f"wavs/{path.name}")
        archive.write(root / "metadata.csv", "metadata.csv")

    def upload(target: str) -> str:
        files = {"file": ("voice.zip", packed.getvalue())}
        response = stack.client.post("/training/dataset/import", data={"folder": target}, files=files)
        assert response.status_code == 200, response.text
        return str(response.json()["job_id"])

    if not stack.objects(f"{reference}/segments"):
        stack.done(upload(reference))
    disturb(stack, upload(folder), "dataset", victim, stack.data_dir / "objects" / folder / "work")
    assert rows(stack, folder) == rows(stack, reference)
    made = relative(stack.objects(f"{folder}/segments"), folder)
    assert made == relative(stack.objects(f"{reference}/segments"), reference)


@pytest.mark.parametrize("victim", VICTIMS)
def test_train(stack: Stack, undisturbed: str, victim: str) -> None:
    body = {"dataset_folder": undisturbed, "epochs": 12, "batch_size": 4}
    if not stack.get("/training/checkpoints", model_name="undisturbed"):
        stack.done(stack.post("/training/start", {"model_name": "undisturbed", **body})["job_id"], 400)
    started = stack.post("/training/start", {"model_name": f"killed-{victim}", **body})
    disturb(stack, started["job_id"], "trainer", victim, stack.data_dir / "nowhere")
    names = {entry["name"] for entry in stack.get("/training/checkpoints", model_name=f"killed-{victim}")}
    assert names == {entry["name"] for entry in stack.get("/training/checkpoints", model_name="undisturbed")}
    assert losses(stack, f"killed-{victim}") == pytest.approx(losses(stack, "undisturbed"), rel=1e-4)


@pytest.mark.parametrize("stack", ["postgresql"], indirect=True)
def test_on_postgresql(stack: Stack, media: str, undisturbed: str) -> None:
    """The hardest of each, where the jobs are in PostgreSQL."""
    test_segment(stack, media, undisturbed, "both")
    test_transcribe(stack, media, undisturbed, "both")
    test_train(stack, undisturbed, "both")


def losses(stack: Stack, model: str) -> list[float]:
    found: list[float] = stack.get("/training/metrics", model_name=model)["series"]["loss"]["values"]
    return found
