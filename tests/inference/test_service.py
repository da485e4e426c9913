from __future__ import annotations

import asyncio
import io
import math
import re
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile as sf
import torch
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from timbre.inference.v1 import inference_pb2 as pb

from services.xtts.base import LicenceNotAccepted

CHECKPOINT = "train/output/my_voice/checkpoints/checkpoint_epoch_10.pth"
SHORT = CHECKPOINT.replace("checkpoint_epoch", "epoch")
TEXT = "Este é um teste de síntese de voz em português brasileiro."
LONG = " ".join([TEXT] * 60)


def speech(text: str = TEXT, checkpoint: str = CHECKPOINT, **more: Any) -> pb.SynthesizeRequest:
    return pb.SynthesizeRequest(parameters=pb.SpeechParameters(checkpoint=checkpoint, text=text, **more))


async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Awaits a call that must fail, and returns its code, sentence and metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    if status is not None:
        status.details[0].Unpack(info)
    return caught.value.code(), str(caught.value.details()), dict(info.metadata)


def read_wav(content: bytes) -> np.ndarray[Any, np.dtype[np.int16]]:
    with sf.SoundFile(io.BytesIO(content)) as file:
        assert (file.samplerate, file.channels, file.format, file.subtype) == (22_050, 1, "WAV", "PCM_16")
        return file.read(dtype="int16")


async def until(condition: Any, seconds: float = 10) -> float:
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < seconds
        await asyncio.sleep(0.005)
    return time.perf_counter() - began


async def test_synthesizes_into_a_wav_object(start: Any) -> None:
    service = await start()
    reply = await service.stub.Synthesize(speech(temperature=0.7, speed=1.0, seed=3))
    assert re.fullmatch(r"inference/inference_\d{8}_\d{6}\.wav", reply.audio_key)
    samples = read_wav(service.store.get(reply.audio_key))
    assert reply.duration_seconds == pytest.approx(len(samples) / 22_050)
    assert 0 < reply.real_time_factor < 100
    assert 0.2 < reply.duration_seconds < 15
    peak = np.abs(samples.astype(int)).max()
    assert 300 < peak <= math.ceil(32_767 * 10 ** (-1 / 20))
    # It begins and ends in silence: no click.
    assert abs(int(samples[0])) < 50
    assert abs(int(samples[-1])) < 50


async def test_the_seed_repeats_and_its_absence_varies(start: Any) -> None:
    service = await start()
    replies = [await service.stub.Synthesize(speech(**seed)) for seed in ({"seed": 5}, {"seed": 5}, {"seed": 0}, {}, {})]
    sounds = [service.store.get(reply.audio_key) for reply in replies]
    assert sounds[0] == sounds[1]
    assert len(set(sounds)) == 4


async def test_requests_in_one_second_get_files_of_their_own(start: Any) -> None:
    service = await start()
    replies = await asyncio.gather(*(service.stub.Synthesize(speech("Olá, bom dia.")) for _ in range(5)))
    keys = [reply.audio_key for reply in replies]
    assert len(set(keys)) == 5
    assert all(re.fullmatch(r"inference/inference_\d{8}_\d{6}(_[0-9a-f]{6})?\.wav", key) for key in keys)
    assert all(service.store.stat(key) for key in keys)


async def test_base_speaks_in_its_own_and_in_a_given_voice(start: Any, recording: tuple[Path, Any]) -> None:
    service = await start()
    service.store.put("datasets/my_voice/segments/segment_00001.wav", recording[0])
    own = await service.stub.Synthesize(speech(checkpoint="base", seed=1))
    speaker = "datasets/my_voice/segments/segment_00001.wav"
    given = await service.stub.Synthesize(speech(checkpoint="base", seed=1, speaker=speaker))
    assert service.store.get(own.audio_key) != service.store.get(given.audio_key)
    again = await service.stub.Synthesize(speech(checkpoint="base", seed=1, speaker=speaker))
    assert service.store.get(given.audio_key) == service.store.get(again.audio_key)


async def test_speed_and_language_reach_the_model(start: Any) -> None:
    service = await start()
    slow, fast = [(await service.stub.Synthesize(speech(seed=2, speed=speed))).duration_seconds for speed in (0.5, 2.0)]
    assert slow > 2.5 * fast
    pt, en = [await service.stub.Synthesize(speech(seed=2, language=language)) for language in ("pt-BR", "en")]
    assert service.store.get(pt.audio_key) != service.store.get(en.audio_key)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (speech(text=""), "text"),
        (speech(text=" \n "), "text"),
        (speech(text="a" * 10_001), "text"),
        (speech(text="?! …"), "text"),
        (speech(temperature=0.09), "temperature"),
        (speech(temperature=1.51), "temperature"),
        (speech(temperature=float("nan")), "temperature"),
        (speech(speed=0.49), "speed"),
        (speech(speed=2.01), "speed"),
        (speech(language="tlh"), "language"),
        (speech(checkpoint=""), "checkpoint"),
        (speech(checkpoint="/etc/passwd"), "checkpoint"),
        (speech(checkpoint="train/output/../../x.pth"), "checkpoint"),
        (speech(checkpoint="datasets/my_voice/segments.jsonl"), "checkpoint"),
        (speech(speaker="../reference.wav"), "speaker"),
        (speech(speaker="train/output/x.wav"), "speaker"),
    ],
)
async def test_refuses_what_is_out_of_range(start: Any, request_: pb.SynthesizeRequest, field: str) -> None:
    service = await start()
    code, message, _ = await refused(service.stub.Synthesize(request_))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in message


async def test_what_is_missing_is_not_found(start: Any) -> None:
    service = await start()
    missing = "train/output/my_voice/checkpoints/checkpoint_epoch_99.pth"
    for call in (
        service.stub.Synthesize(speech(checkpoint=missing)),
        service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=missing)),
        service.stub.CompareCheckpoint(pb.CompareCheckpointRequest(checkpoint=missing, text=TEXT)),
    ):
        code, message, _ = await refused(call)
        assert (code, "checkpoint_epoch_99" in message) == (grpc.StatusCode.NOT_FOUND, True)
    code, message, _ = await refused(service.stub.Synthesize(speech(speaker="datasets/my_voice/raw/none.wav")))
    assert (code, "none.wav" in message) == (grpc.StatusCode.NOT_FOUND, True)


async def test_a_speaker_that_is_no_recording_is_refused(start: Any) -> None:
    service = await start()
    service.store.put("datasets/my_voice/metadata.csv", b"segment_00001|a|a\n")
    code, message, _ = await refused(service.stub.Synthesize(speech(speaker="datasets/my_voice/metadata.csv")))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "recording" in message


async def test_loads_by_either_documented_name(start: Any) -> None:
    service = await start()
    for name, expected in ((SHORT, CHECKPOINT), (CHECKPOINT, CHECKPOINT), ("base", "base")):
        reply = await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=name))
        assert reply.checkpoint == expected
    status = await service.stub.GetInferenceStatus(pb.GetInferenceStatusRequest())
    assert list(status.loaded_checkpoints) == ["base", CHECKPOINT]
    assert (status.queued_count, status.queue_limit) == (0, 8)


@pytest.mark.parametrize("content", ["text", "other model", "code"])
async def test_what_is_no_checkpoint_is_refused_and_the_loaded_one_stays(start: Any, content: str, tmp_path: Path) -> None:
    service = await start()
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=CHECKPOINT))
    bad = "train/output/my_voice/checkpoints/checkpoint_epoch_11.pth"
    trap = tmp_path / "trap"
    if content == "text":
        service.store.put(bad, b"this is no checkpoint")
    else:
        torch.save({"model": {"w": torch.zeros(3)}} if content == "other model" else _Trap(trap), tmp_path / "bad.pth")
        service.store.put(bad, tmp_path / "bad.pth")
    code, message, _ = await refused(service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=bad)))
    assert code == grpc.StatusCode.INTERNAL
    assert "not a checkpoint" in message
    assert str(tmp_path) not in message
    assert not trap.exists()
    status = await service.stub.GetInferenceStatus(pb.GetInferenceStatusRequest())
    assert list(status.loaded_checkpoints) == [CHECKPOINT]


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


async def test_compares_with_the_base_in_real_figures(start: Any) -> None:
    service = await start()
    reply = await service.stub.CompareCheckpoint(pb.CompareCheckpointRequest(checkpoint=CHECKPOINT, text=TEXT, seed=4))
    stamps = [re.fullmatch(rf"ab_test/{name}_(\d{{8}}_\d{{6}})\.wav", key) for name, key in
              (("base", reply.base_audio_key), ("finetuned", reply.finetuned_audio_key))]  # fmt: skip
    assert stamps[0][1] == stamps[1][1]
    base, tuned = (read_wav(service.store.get(key)) for key in (reply.base_audio_key, reply.finetuned_audio_key))
    assert not np.array_equal(base[:10_000], tuned[:10_000])
    scores = (reply.similarity, reply.mfcc_score, reply.base_similarity, reply.base_mfcc_score)
    assert all(0 <= score <= 100 for score in scores)
    assert reply.similarity != reply.base_similarity
    assert reply.mfcc_score != reply.base_mfcc_score
    other = await service.stub.CompareCheckpoint(pb.CompareCheckpointRequest(checkpoint=CHECKPOINT, text=TEXT, seed=5))
    assert other.mfcc_score != reply.mfcc_score


async def test_base_is_not_compared_with_itself(start: Any) -> None:
    service = await start()
    code, _, _ = await refused(service.stub.CompareCheckpoint(pb.CompareCheckpointRequest(checkpoint="base", text=TEXT)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_streams_piece_by_piece_what_a_file_holds(start: Any) -> None:
    service = await start()
    text = f"{TEXT} {TEXT} {TEXT}"
    whole = await service.stub.Synthesize(speech(text, seed=8))
    wanted = pb.SynthesizeStreamRequest(parameters=pb.SpeechParameters(checkpoint=CHECKPOINT, text=text, seed=8))
    arrived, parts = [], []
    async for reply in service.stub.SynthesizeStream(wanted):
        assert reply.sample_rate_hertz == 22_050
        arrived.append(time.perf_counter())
        parts.append(reply.pcm)
    assert len(parts) >= 5  # three pieces and two pauses
    assert arrived[-1] - arrived[0] > 0.05
    streamed = np.frombuffer(b"".join(parts), "<i2")
    np.testing.assert_array_equal(streamed, read_wav(service.store.get(whole.audio_key)))


async def test_streams_fail_with_a_sentence_too(start: Any) -> None:
    service = await start()
    stream = service.stub.SynthesizeStream(pb.SynthesizeStreamRequest(parameters=speech(language="tlh").parameters))
    code, message, _ = await refused(stream.read())
    assert (code, "language" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def idle(service: Any) -> bool:
    return service.servicer.thread._unfinished == 0


async def test_the_deadline_stops_the_model(start: Any) -> None:
    service = await start(synthesis_timeout_seconds=0.5)
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=CHECKPOINT))
    began = time.perf_counter()
    code, message, _ = await refused(service.stub.Synthesize(speech(LONG)))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "shorten the text" in message
    assert time.perf_counter() - began < 2
    assert await until(lambda: idle(service)) < 1
    assert list(service.store.list("inference/")) == []


async def test_the_callers_own_deadline_stops_the_model_too(start: Any) -> None:
    service = await start()
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=CHECKPOINT))
    code, _, _ = await refused(service.stub.Synthesize(speech(LONG), timeout=0.5))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert await until(lambda: idle(service)) < 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_hanging_up_stops_the_model(start: Any, streamed: bool) -> None:
    service = await start()
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=CHECKPOINT))
    if streamed:
        call = service.stub.SynthesizeStream(pb.SynthesizeStreamRequest(parameters=speech(LONG).parameters))
        await call.read()
    else:
        call = service.stub.Synthesize(speech(LONG))
        await until(lambda: not idle(service))
        await asyncio.sleep(0.2)
    assert not idle(service)
    call.cancel()
    assert await until(lambda: idle(service)) < 1
    assert list(service.store.list("inference/")) == []


async def test_a_full_queue_says_when_to_come_back(start: Any) -> None:
    service = await start(inference_queue=1)
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=CHECKPOINT))
    busy = [service.stub.Synthesize(speech(LONG)) for _ in range(2)]
    await until(lambda: service.servicer.thread.queued_count == 1)
    status = await service.stub.GetInferenceStatus(pb.GetInferenceStatusRequest())
    assert (status.queued_count, status.queue_limit) == (1, 1)
    code, message, metadata = await refused(service.stub.Synthesize(speech()))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "try again" in message
    assert float(metadata["retry_after_seconds"]) >= 1
    for call in busy:
        call.cancel()
    await until(lambda: idle(service))
    assert (await service.stub.Synthesize(speech())).audio_key


async def test_only_so_many_models_stay_and_a_changed_checkpoint_is_loaded_anew(start: Any, checkpoint: Path) -> None:
    service = await start(loaded_models=2)
    second = CHECKPOINT.replace("_10", "_20")
    service.store.put(second, checkpoint)
    for name in ("base", CHECKPOINT, second):
        await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=name))
    assert service.servicer.voices.loaded_names == (second, CHECKPOINT)
    before = service.servicer.voices._models[second].engine
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=second))
    assert service.servicer.voices._models[second].engine is before
    service.store.put(second, checkpoint)
    await service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=second))
    assert service.servicer.voices._models[second].engine is not before


async def test_a_checkpoint_of_another_base_is_refused(start: Any, checkpoint: Path, tmp_path: Path) -> None:
    service = await start()
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "base_fingerprint": "another"}, tmp_path / "other.pth")
    service.store.put(CHECKPOINT, tmp_path / "other.pth")
    code, message, _ = await refused(service.stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint=CHECKPOINT)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "TIMBRE_BASE_MODEL" in message


async def test_preloading_tries_until_the_base_is_loaded(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("services.inference.servicer._PRELOAD_RETRY_SECONDS", 0.5)
    service = await start()
    voices = service.servicer.voices
    makes, troubles = voices._make_loader, [OSError("the disk is away"), LicenceNotAccepted()]

    def make() -> Any:
        if troubles:
            raise troubles.pop()
        return makes()

    voices._make_loader = make
    preload = asyncio.create_task(service.servicer.preload())
    while troubles:
        await asyncio.sleep(0.01)
        assert not preload.done()
    code, *_ = await refused(service.stub.Synthesize(speech(checkpoint="none")))
    assert code == grpc.StatusCode.INVALID_ARGUMENT, "other calls are answered meanwhile"
    await asyncio.wait_for(preload, 120)
    assert voices.loaded_names == ("base",)
    assert "TIMBRE_ACCEPT_XTTS_LICENSE" in caplog.text
    assert "the disk is away" in caplog.text
