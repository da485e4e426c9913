"""What the service offers around speaking, over a real channel: formats, names, history, votes, export."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile as sf
from timbre.inference.v1 import inference_pb2 as pb

from services.voices.selection import standings

CHECKPOINT = "train/output/my_voice/checkpoints/checkpoint_epoch_10.pth"
OTHER = "train/output/other/checkpoints/checkpoint_epoch_20.pth"
TEXT = "Este é um teste de síntese de voz em português brasileiro."
LONG = " ".join([TEXT] * 40)


def stream(text: str = TEXT, checkpoint: str = "", model: str = "", voice: str = "", wanted: Any = None, **more: Any) -> Any:
    parameters = pb.SpeechParameters(checkpoint=checkpoint, text=text, **more)
    return pb.SynthesizeStreamRequest(parameters=parameters, model=model, voice=voice, format=wanted)


async def fails(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


async def test_an_encoded_stream_holds_what_the_kept_file_holds(start: Any) -> None:
    service = await start()
    replies = [
        reply
        async for reply in service.stub.SynthesizeStream(stream(checkpoint=CHECKPOINT, seed=8, wanted=pb.AUDIO_FORMAT_WAV))
    ]
    *parts, last = replies
    assert all(part.encoded and not part.pcm and not part.HasField("result") for part in parts)
    assert not last.encoded
    content = b"".join(part.encoded for part in parts)
    kept, rate = sf.read(io.BytesIO(service.store.get(last.result.audio_key)), dtype="int16")
    np.testing.assert_array_equal(np.frombuffer(content[44:], "<i2"), kept)
    assert last.result.duration_seconds == pytest.approx(len(kept) / rate)
    assert last.text_token_count > 5
    # 21.5 codes make a second; what is trimmed off was coded, too
    assert last.audio_token_count >= 21.5 * last.result.duration_seconds - 10
    mp3 = [reply async for reply in service.stub.SynthesizeStream(stream(checkpoint=CHECKPOINT, wanted=pb.AUDIO_FORMAT_MP3))]
    assert sf.info(io.BytesIO(b"".join(reply.encoded for reply in mp3))).format == "MP3"


async def test_models_and_voices_by_name(start: Any) -> None:
    service = await start()
    said = []
    for model, voice in (("my_voice", "alloy"), ("tts-1", "my_voice"), (CHECKPOINT, "default"), ("base", "my_voice")):
        call = service.stub.SynthesizeStream(stream(model=model, voice=voice, seed=3))
        replies = [reply async for reply in call]
        said.append(service.store.get(replies[-1].result.audio_key))
    assert said[0] == said[1] == said[2]
    assert said[3] != said[0]
    code, message = await fails(service.stub.SynthesizeStream(stream(model="nobody")).read())
    assert (code, "nobody" in message) == (grpc.StatusCode.NOT_FOUND, True)
    code, message = await fails(service.stub.SynthesizeStream(stream(model="my_voice", voice="nobody")).read())
    assert (code, "nobody" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    listed = (await service.stub.ListModels(pb.ListModelsRequest())).models
    assert [(model.name, model.kind) for model in listed] == [
        ("my_voice", pb.MODEL_KIND_VOICE),
        ("base", pb.MODEL_KIND_BASE),
        (CHECKPOINT, pb.MODEL_KIND_CHECKPOINT),
    ]
    model = (await service.stub.GetModel(pb.GetModelRequest(name="tts-1"))).model
    assert (model.name, model.checkpoint) == ("tts-1", CHECKPOINT)
    assert model.create_time.seconds > 0


async def test_another_voice_is_taken_from_its_reference(start: Any, checkpoint: Path) -> None:
    service = await start()
    service.store.put(OTHER, checkpoint)
    own, others = [
        await service.stub.Synthesize(
            pb.SynthesizeRequest(parameters=pb.SpeechParameters(checkpoint="base", text=TEXT, seed=3, speaker=speaker))
        )
        for speaker in ("", OTHER)
    ]
    assert service.store.get(own.audio_key) != service.store.get(others.audio_key)
    missing = OTHER.replace("20", "99")
    call = service.stub.Synthesize(
        pb.SynthesizeRequest(parameters=pb.SpeechParameters(checkpoint="base", text=TEXT, speaker=missing))
    )
    assert (await fails(call))[0] == grpc.StatusCode.NOT_FOUND


async def test_everything_that_was_said_is_in_the_history(start: Any) -> None:
    service = await start()
    short = CHECKPOINT.replace("checkpoint_epoch", "epoch")
    parameters = pb.SpeechParameters(checkpoint=short, text="Olá, bom dia.", temperature=0.5, speed=1.5, seed=11)
    written = await service.stub.Synthesize(pb.SynthesizeRequest(parameters=parameters))
    await asyncio.sleep(1.1)  # the next one is named by another second
    streamed = [reply async for reply in service.stub.SynthesizeStream(stream(checkpoint="base", language="en"))][-1].result
    found = (await service.stub.ListUtterances(pb.ListUtterancesRequest())).utterances
    assert [one.audio_key for one in found] == [streamed.audio_key, written.audio_key]
    newest, oldest = found
    assert (oldest.checkpoint, oldest.text, oldest.temperature, oldest.speed) == (CHECKPOINT, "Olá, bom dia.", 0.5, 1.5)
    assert (oldest.language, oldest.seed, oldest.speaker) == ("pt", 11, "")
    assert oldest.duration_seconds == written.duration_seconds
    assert (newest.checkpoint, newest.language) == ("base", "en")
    assert 0 <= newest.seed < 2**53
    again = pb.SpeechParameters(checkpoint="base", text=TEXT, language="en", seed=newest.seed)
    repeated = await service.stub.Synthesize(pb.SynthesizeRequest(parameters=again))
    assert service.store.get(repeated.audio_key) == service.store.get(newest.audio_key)
    only = pb.ListUtterancesRequest(checkpoint=CHECKPOINT, limit=1)
    assert (await service.stub.ListUtterances(only)).utterances == [oldest]
    before = pb.ListUtterancesRequest(before=newest.utterance_id)
    assert (await service.stub.ListUtterances(before)).utterances == [oldest]
    delete = pb.DeleteUtteranceRequest(utterance_id=oldest.utterance_id)
    await service.stub.DeleteUtterance(delete)
    assert service.store.stat(oldest.audio_key) is None
    assert (await fails(service.stub.DeleteUtterance(delete)))[0] == grpc.StatusCode.NOT_FOUND
    assert (await fails(service.stub.ListUtterances(pb.ListUtterancesRequest(limit=-1))))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_that_nobody_hears_to_its_end_is_not_kept(start: Any) -> None:
    service = await start()
    call = service.stub.SynthesizeStream(stream(LONG, checkpoint=CHECKPOINT, wanted=pb.AUDIO_FORMAT_MP3))
    await call.read()
    call.cancel()
    async with asyncio.timeout(30):
        while service.servicer.thread._unfinished:
            await asyncio.sleep(0.01)
    assert list(service.store.list("inference/")) == []


async def test_any_two_are_compared_and_voted_on(start: Any, checkpoint: Path) -> None:
    service = await start()
    service.store.put(OTHER, checkpoint)
    wanted = pb.CompareCheckpointRequest(checkpoint=CHECKPOINT, against=OTHER, text=TEXT, seed=4)
    made = await service.stub.CompareCheckpoint(wanted)
    base = await service.stub.CompareCheckpoint(pb.CompareCheckpointRequest(checkpoint=CHECKPOINT, text=TEXT, seed=4))
    sounds = [service.store.get(one) for one in (made.finetuned_audio_key, base.finetuned_audio_key)]
    assert sounds[0] == sounds[1]
    others = [service.store.get(one) for one in (made.base_audio_key, base.base_audio_key)]
    assert others[0] != others[1]
    assert re.fullmatch(r"comparison_\d{8}_\d{6}(_[0-9a-f]{6})?", made.comparison_id)
    vote = pb.CastVoteRequest(comparison_id=made.comparison_id, preferred=pb.PREFERENCE_FINETUNED, blind=True)
    tally = (await service.stub.CastVote(vote)).tally
    assert (tally.checkpoint, tally.against, tally.finetuned_count, tally.blind_count) == (CHECKPOINT, OTHER, 1, 1)
    assert tally.preference == 1.0
    assert 0.2 < tally.low < tally.high == 1.0
    vote.preferred = pb.PREFERENCE_TIE
    tally = (await service.stub.CastVote(vote)).tally
    assert (tally.finetuned_count, tally.tie_count, tally.HasField("preference")) == (0, 1, False)
    assert (await service.stub.GetVotes(pb.GetVotesRequest(checkpoint=CHECKPOINT, against=OTHER))).tally == tally
    assert (await service.stub.GetVotes(pb.GetVotesRequest(checkpoint=CHECKPOINT))).tally.tie_count == 0
    vote.preferred = pb.PREFERENCE_UNSPECIFIED
    assert (await fails(service.stub.CastVote(vote)))[0] == grpc.StatusCode.INVALID_ARGUMENT
    nothing = pb.CastVoteRequest(comparison_id="comparison_20251206_143000", preferred=pb.PREFERENCE_TIE)
    assert (await fails(service.stub.CastVote(nothing)))[0] == grpc.StatusCode.NOT_FOUND


async def test_a_comparison_leaves_its_scores_with_the_checkpoint(start: Any) -> None:
    service = await start()
    made = await service.stub.CompareCheckpoint(pb.CompareCheckpointRequest(checkpoint=CHECKPOINT, text=TEXT, seed=4))
    (standing,) = standings(service.store)
    assert (standing.similarity, standing.mfcc_score) == (made.similarity, made.mfcc_score)


async def test_the_export_is_what_coqui_loads(start: Any, tiny_base: Path, model_cache: Path) -> None:
    service = await start(base_model="tiny", cache_dir=model_cache)
    parts = [part.content async for part in service.stub.ExportCheckpoint(pb.ExportCheckpointRequest(checkpoint=CHECKPOINT))]
    assert len(parts) > 5
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        config = json.loads(archive.read("my_voice-epoch-10/config.json"))
        audio, rate = sf.read(io.BytesIO(archive.read("my_voice-epoch-10/reference.wav")))
    expected = ("config.json", "vocab.json", "mel_stats.pth", "dvae.pth", "model.pth", "speakers_xtts.pth", "reference.wav")
    assert names == {f"my_voice-epoch-10/{name}" for name in expected}
    assert config["model"] == "xtts"
    assert (rate, len(audio) > rate) == (22_050, True)
    assert not list(model_cache.glob(".export-*"))
    missing = pb.ExportCheckpointRequest(checkpoint=CHECKPOINT.replace("10", "99"))
    assert (await fails(service.stub.ExportCheckpoint(missing).read()))[0] == grpc.StatusCode.NOT_FOUND


async def test_an_export_that_nobody_reads_leaves_nothing(start: Any, tiny_base: Path, model_cache: Path) -> None:
    service = await start(base_model="tiny", cache_dir=model_cache)
    call = service.stub.ExportCheckpoint(pb.ExportCheckpointRequest(checkpoint=CHECKPOINT))
    await call.read()
    call.cancel()
    async with asyncio.timeout(30):
        while list(model_cache.glob(".export-*")) or service.servicer.exporting.locked():
            await asyncio.sleep(0.01)
