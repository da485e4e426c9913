"""The documented workflow through the gateway of a real stack, each answer held against the documents."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
import zipfile
from typing import Any

import numpy as np
import openai
import pytest
import requests
import soundfile as sf
from imageio_ffmpeg import get_ffmpeg_exe

from tests.e2e.stack import Stack

FOLDER = "datasets/my_voice"
MODEL = "my_voice_model"
SENTENCE = "Este é um teste de síntese de voz em português brasileiro."


everywhere = pytest.mark.parametrize("stack", ["embedded", "cluster"], indirect=True)
embedded = pytest.mark.parametrize("stack", ["embedded"], indirect=True)


@everywhere
def test_the_workflow_step_by_step(stack: Stack, media: str) -> None:
    idle = {"state": "idle", "epoch": 0, "total_epochs": 0, "loss": None, "progress": 0, "logs": ""}
    assert stack.get("/training/status").items() >= idle.items()
    assert stack.get("/training/dataset/stats", folder=FOLDER).items() >= {"files": 0, "total_hours": 0.0}.items()

    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    started = stack.post("/training/dataset/download", {"urls": urls, "folder": FOLDER})
    assert started.items() >= {"status": "started", "videos": 2, "output_folder": f"{FOLDER}/raw"}.items()
    # Each next step may be asked for at once: it waits for the one before.
    segmented = stack.post("/training/dataset/segment", {"folder": FOLDER})
    assert (
        segmented.items()
        >= {
            "status": "started",
            "input_folder": f"{FOLDER}/raw",
            "output_folder": f"{FOLDER}/segments",
        }.items()
    )
    transcribed = stack.post("/training/dataset/transcribe", {"folder": FOLDER})
    assert transcribed.items() >= {"status": "started", "folder": f"{FOLDER}/segments"}.items()
    training = stack.post(
        "/training/start", {"model_name": MODEL, "dataset_folder": FOLDER, "epochs": 10, "batch_size": 4, "learning_rate": 1e-3}
    )
    assert (
        training.items()
        >= {
            "status": "started",
            "model_name": MODEL,
            "output_folder": f"train/output/{MODEL}",
        }.items()
    )
    refused = stack.post("/training/start", {"model_name": "other", "dataset_folder": FOLDER, "epochs": 10}, status=400)
    assert "running" in refused["detail"]

    assert stack.done(started["job_id"])["result"]["stored"] == 2
    stack.done(segmented["job_id"])
    stack.done(transcribed["job_id"])
    stats = stack.get("/training/dataset/stats", folder=FOLDER)
    assert stats["files"] > 5
    assert stats["total_hours"] == pytest.approx(stats["files"] * 9.5 / 3600, rel=0.4)
    assert stats["transcribed_percent"] == 100.0
    files = stack.get("/training/dataset/files", folder=FOLDER, limit=3)["files"]
    assert [file["name"] for file in files] == ["segment_00001.wav", "segment_00002.wav", "segment_00003.wav"]
    assert files[0]["path"] == f"{FOLDER}/segments/segment_00001.wav"
    metadata = stack.store.get(f"{FOLDER}/metadata.csv").decode().splitlines()
    assert len(metadata) == stats["files"]
    assert all(re.fullmatch(r"segment_\d{5}\|[^|]+\|[^|\d]+", line) for line in metadata)

    stack.done(training["job_id"], seconds=600)
    status = stack.get("/training/status")
    assert (status["state"], status["epoch"], status["total_epochs"], status["progress"]) == ("completed", 10, 10, 100)
    assert re.search(r"^Epoch 10/10 - Loss: \d+\.\d{4}$", status["logs"], re.MULTILINE)
    assert len(status["logs"].splitlines()) <= 50
    assert status["loss"] > 0
    assert "Epoch 1/10" in stack.get("/training/logs")["logs"]
    series = stack.get("/training/metrics", model_name=MODEL)
    assert "loss" in str(series)

    checkpoints = stack.get("/training/checkpoints", model_name=MODEL)
    newest = checkpoints[0]
    assert (newest["name"], newest["epoch"]) == ("checkpoint_epoch_10", 10)
    assert newest["path"] == f"train/output/{MODEL}/checkpoints/checkpoint_epoch_10.pth"
    stored = stack.store.stat(newest["path"])
    assert stored is not None
    assert newest["size_mb"] == round(stored.size / 1024**2, 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", newest["date"])
    loaded = stack.client.post("/training/checkpoints/load", params={"checkpoint_path": newest["path"]})
    assert loaded.json().items() >= {"status": "loaded", "checkpoint": newest["path"]}.items()

    text = "Este é um teste de síntese de voz em português brasileiro."
    spoken = stack.post("/training/inference/synthesize", {"checkpoint": newest["path"], "text": text, "temperature": 0.7})
    assert spoken["status"] == "success"
    assert spoken["text"] == text
    audio = stack.client.get(spoken["audio_url"])
    samples, rate = sf.read(io.BytesIO(audio.content), dtype="float32")
    assert (rate, samples.ndim, sf.info(io.BytesIO(audio.content)).subtype) == (22050, 1, "PCM_16")
    # How long a model with random weights speaks is a matter of chance.
    assert 0 < len(samples) / rate < 60
    assert 0 < np.abs(samples).max() < 1.0
    compared = stack.post("/training/inference/ab-test", {"checkpoint": newest["path"], "text": text})
    for score in ("similarity", "mfcc_score", "base_similarity", "base_mfcc_score"):
        assert 0 <= compared[score] <= 100
    for url in (compared["base_audio"], compared["finetuned_audio"]):
        assert sf.info(io.BytesIO(stack.client.get(url).content)).samplerate == 22050


@everywhere
def test_downloading_again_costs_nothing(stack: Stack, media: str) -> None:
    before = stack.objects(f"{FOLDER}/raw")
    again = stack.post("/training/dataset/download", {"urls": [f"{media}/voice-1.wav"], "folder": FOLDER})
    assert stack.done(again["job_id"])["result"]["present"] == 1
    assert stack.objects(f"{FOLDER}/raw") == before


@everywhere
def test_a_model_is_not_written_over(stack: Stack) -> None:
    body = {"model_name": MODEL, "dataset_folder": FOLDER, "epochs": 10}
    refused = stack.post("/training/start", body, status=400)["detail"]
    assert "resume" in refused
    assert "overwrite" in refused


# What ffmpeg calls what is asked for; raw samples have nothing by which they could be known.
DEMUXERS = {"mp3": "mp3", "opus": "ogg", "aac": "aac", "flac": "flac", "wav": "wav", "pcm": "s16le"}


def seconds_of(audio: bytes, response_format: str) -> float:
    """How long audio is, which must be of the format that was asked for, and whole."""
    raw = ["-ar", "24000", "-ac", "1"] if response_format == "pcm" else []
    source = ["-f", DEMUXERS[response_format], *raw, "-i", "pipe:0"]
    command = [get_ffmpeg_exe(), "-v", "error", *source, "-f", "s16le", "-ar", "24000", "-ac", "1", "pipe:1"]
    decoded = subprocess.run(command, input=audio, capture_output=True, check=True)
    assert not decoded.stderr
    return len(decoded.stdout) / 2 / 24_000


def pace(stack: Stack, client: openai.OpenAI, speed: float) -> float:
    """How long the audio of a token is at a speed, in seconds: what is said takes another number of them each time."""
    options = {"response_format": "wav", "stream_format": "sse", "speed": speed}
    with client.audio.speech.with_streaming_response.create(model=MODEL, voice=MODEL, input=SENTENCE, **options) as answer:
        *_, last = [line for line in answer.iter_lines() if line]
    return newest(stack)["duration_s"] / json.loads(last[6:])["usage"]["output_tokens"]


@embedded
def test_programs_of_openai_speak_with_the_voice(stack: Stack) -> None:
    with openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{stack.port}/v1", max_retries=0, timeout=120) as client:
        assert {MODEL, "base"} <= {model.id for model in client.models.list()}
        assert client.models.retrieve("tts-1").id == "tts-1"
        for wanted in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
            for model, voice in ((MODEL, "alloy"), ("tts-1", MODEL)):
                answer = client.audio.speech.create(model=model, voice=voice, input=SENTENCE, response_format=wanted)
                # An encoder adds up to two of its frames of 1,152 samples at either end.
                assert seconds_of(answer.content, wanted) == pytest.approx(newest(stack)["duration_s"], abs=0.2), wanted
        paces = {speed: pace(stack, client, speed) for speed in (0.5, 1.0, 2.0)}
        assert paces[0.5] == pytest.approx(2 * paces[1.0], rel=0.15)
        assert paces[2.0] == pytest.approx(paces[1.0] / 2, rel=0.15)
        text = " ".join([SENTENCE] * 40)
        for options in ({"response_format": "pcm"}, {"response_format": "mp3", "stream_format": "sse"}):
            before = newest(stack)
            with client.audio.speech.with_streaming_response.create(model=MODEL, voice=MODEL, input=text, **options) as answer:
                chunks = answer.iter_bytes()
                heard = [next(chunks)]
                assert newest(stack) == before, "the first audio came when all of it was made already"
                heard += chunks
            assert newest(stack)["text"] == text
        # 24,000 Hz of 16 bits, against what was kept; the events carry base64
        events = [json.loads(line[6:]) for line in b"".join(heard).decode().splitlines() if line]
        assert [event["type"] for event in events[-2:]] == ["speech.audio.delta", "speech.audio.done"]
        assert events[-1]["usage"]["output_tokens"] > 0
        with pytest.raises(openai.NotFoundError) as missing:
            client.audio.speech.create(model="nobody", voice="alloy", input=SENTENCE)
        assert missing.value.code == "model_not_found"


@embedded
def test_a_stream_is_heard_while_it_is_made_and_ends_with_its_listener(stack: Stack) -> None:
    checkpoint = stack.get("/training/checkpoints", model_name=MODEL)[0]["path"]
    before = newest(stack)
    body = {"checkpoint": checkpoint, "text": " ".join([SENTENCE] * 60)}
    with stack.client.stream("POST", "/training/inference/stream", json=body) as answer:
        chunks = answer.iter_raw()
        assert next(chunks)[:4] == b"RIFF"
        assert next(chunks)
    # The model is free again, though there was much left to say, and nothing of it was kept.
    spoken = stack.post("/training/inference/synthesize", {"checkpoint": checkpoint, "text": SENTENCE})
    history = stack.get("/training/inference/history", checkpoint=checkpoint, limit=2)["utterances"]
    assert history[0]["audio_url"] == spoken["audio_url"]
    assert history[1] == before
    short = stack.client.post("/training/inference/stream", json={**body, "text": SENTENCE, "format": "pcm"})
    kept = sf.info(io.BytesIO(stack.client.get(newest(stack)["audio_url"]).content))
    assert len(short.content) == 2 * kept.frames
    assert stack.client.delete(f"/training/inference/history/{newest(stack)['id']}").json()["status"] == "deleted"
    assert newest(stack) == history[0]


@embedded
def test_the_voice_and_its_checkpoints_stand_where_they_should(stack: Stack) -> None:
    checkpoints = stack.get("/training/checkpoints", model_name=MODEL)
    assert all(one["loss"] > 0 and one["eval_loss"] > 0 for one in checkpoints)
    (best,) = [one for one in checkpoints if one["best"]]
    assert best["eval_loss"] == min(one["eval_loss"] for one in checkpoints)
    (voice,) = [one for one in stack.get("/training/voices")["voices"] if one["name"] == MODEL]
    assert (voice["current"], voice["best_checkpoint"], voice["checkpoints"]) == (best["path"], best["path"], len(checkpoints))
    assert (voice["state"], voice["dataset_folder"], voice["language"]) == ("completed", FOLDER, "pt")
    assert voice["sample"]["checkpoint"].startswith(f"train/output/{MODEL}/")
    other = next(one for one in checkpoints if not one["best"])
    promoted = stack.client.post("/training/checkpoints/promote", params={"checkpoint_path": other["path"]})
    assert promoted.json() == {"status": "promoted", "model_name": MODEL, "checkpoint": other["path"]}
    compared = stack.post(
        "/training/inference/ab-test", {"checkpoint": best["path"], "against": other["path"], "text": SENTENCE}
    )
    votes = stack.post("/training/inference/votes", {"comparison_id": compared["comparison_id"], "preferred": "finetuned"})
    assert (votes["finetuned"], votes["against"]) == (1, other["path"])
    gone = stack.client.delete("/training/checkpoints", params={"checkpoint_path": other["path"]})
    assert gone.json() == {"status": "deleted", "checkpoint": other["path"]}
    assert stack.post("/training/inference/synthesize", {"checkpoint": other["path"], "text": SENTENCE}, status=404)
    left = stack.get("/training/checkpoints", model_name=MODEL)
    assert [one["path"] for one in left if one["current"]] == [best["path"]]
    assert {one["path"]: one["similarity"] for one in left}[best["path"]] == compared["similarity"]
    (run,) = stack.get("/training/runs", model_name=MODEL)["runs"]
    assert (run["state"], run["epochs_done"]) == ("completed", 10)
    asked = {"model_name": "other", "dataset_folder": FOLDER, "epochs": 100, "batch_size": 4}
    estimate = stack.post("/training/estimate", asked)
    assert estimate["seconds"] == pytest.approx(estimate["steps"] * run["seconds_per_step"])
    assert MODEL in estimate["basis"]
    exported = stack.client.get("/training/checkpoints/export", params={"checkpoint_path": best["path"]})
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert archive.testzip() is None
        assert f"{MODEL}-epoch-{best['epoch']}/model.pth" in archive.namelist()
    file = stack.client.get("/training/checkpoints/file", params={"checkpoint_path": best["path"]})
    assert file.content == stack.objects(best["path"].rpartition("/")[0])[best["path"]]


def newest(stack: Stack) -> dict[str, Any]:
    """The newest entry of the history."""
    found: dict[str, Any] = stack.get("/training/inference/history", limit=1)["utterances"][0]
    return found


class TTSTrainingClient:
    """The Python client of the API reference, as it stands there."""

    def __init__(self, base_url="http://localhost:8000"):  # type: ignore[no-untyped-def]
        self.base_url = base_url

    def download_dataset(self, urls, folder):  # type: ignore[no-untyped-def]
        response = requests.post(f"{self.base_url}/training/dataset/download", json={"urls": urls, "folder": folder})
        return response.json()

    def start_training(self, model_name, dataset_folder, **kwargs):  # type: ignore[no-untyped-def]
        response = requests.post(
            f"{self.base_url}/training/start", json={"model_name": model_name, "dataset_folder": dataset_folder, **kwargs}
        )
        return response.json()

    def poll_status(self, interval=5):  # type: ignore[no-untyped-def]
        while True:
            response = requests.get(f"{self.base_url}/training/status")
            status = response.json()
            print(f"Epoch {status['epoch']}/{status['total_epochs']} - {status['progress']}%")
            if status["state"] in ["completed", "failed", "stopped"]:
                break
            time.sleep(interval)
        return status


@embedded
def test_the_documented_client_works(stack: Stack) -> None:
    client = TTSTrainingClient(base_url=f"http://127.0.0.1:{stack.port}")  # type: ignore[no-untyped-call]
    started = client.start_training("my_model", FOLDER, epochs=100)  # type: ignore[no-untyped-call]
    assert started["status"] == "started"
    stack.until(started["job_id"], lambda job: job["progress"] > 2)
    assert stack.get("/training/status")["state"] == "running"
    assert stack.post("/training/stop", {})["status"] == "stopped"
    assert client.poll_status(interval=0.1)["state"] == "stopped"  # type: ignore[no-untyped-call]
    assert stack.post("/training/stop", {}, status=400)["detail"]
    assert stack.get("/training/checkpoints", model_name="my_model"), "a stopped training keeps its last checkpoint"
    resumed = stack.post("/training/start", {"model_name": "my_model", "dataset_folder": FOLDER, "epochs": 10, "resume": True})
    assert stack.until(resumed["job_id"], lambda job: job["state"] == "succeeded", 600)
