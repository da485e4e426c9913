"""InferenceService over gRPC: translates messages, and puts work in line for the model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
from timbre.inference.v1 import inference_pb2 as pb
from timbre.inference.v1 import inference_pb2_grpc

from services.inference import votes
from services.inference.audio_objects import keep_speech, store_together
from services.inference.checkpoint_files import CheckpointFiles
from services.inference.comparison import Comparison, compare
from services.inference.encode import encode
from services.inference.export import export_zip, on_a_thread
from services.inference.loaded import Voices
from services.inference.messages import format_of, preference_of, to_model, to_tally
from services.inference.model_thread import Cancelled, ModelThread
from services.inference.models import get_model, list_models, resolve
from services.inference.requests import SpeechRequest, make_sampling
from services.inference.settings import InferenceSettings
from services.inference.synthesis import SAMPLE_RATE_HERTZ, Spoken, synthesise
from services.inference.waveform import to_pcm16
from services.runtime import telemetry
from services.runtime.auth import caller
from services.runtime.errors import TimbreError
from services.runtime.store import ObjectStore
from services.voices import history
from services.voices.checkpoints import BASE, is_checkpoint
from services.voices.messages import to_utterance
from services.voices.selection import keep_scores

Context = grpc.aio.ServicerContext[Any, Any]

logger = logging.getLogger(__name__)

# A base that cannot be had now, because the network or the store is away, is asked for again so soon, then ever more rarely.
_PRELOAD_RETRY_SECONDS = 2.0
_PRELOAD_RETRY_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Serves the models of one machine.

    Attributes:
        settings: Time limits.
        store: Where audio goes.
        files: Local copies of checkpoints.
        voices: The models; used on the model thread only.
        thread: The model thread.
        exporting: Lets one export at a time work.
    """

    settings: InferenceSettings
    store: ObjectStore
    files: CheckpointFiles
    voices: Voices
    thread: ModelThread
    exporting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def LoadCheckpoint(self, request: pb.LoadCheckpointRequest, context: Context) -> pb.LoadCheckpointResponse:
        await self._fetch_checkpoint(request.checkpoint)
        seconds = _allowed(context, self.settings.load_timeout_seconds)
        loaded = await self.thread.run(lambda _: self.voices.get(request.checkpoint), seconds)
        return pb.LoadCheckpointResponse(checkpoint=loaded.name)

    async def Synthesize(self, request: pb.SynthesizeRequest, context: Context) -> pb.SynthesizeResponse:
        wanted = _to_request(request.parameters)
        seconds = _allowed(context, self.settings.synthesis_timeout_seconds)
        await self._fetch(wanted)
        spoken = await self.thread.run(lambda cancelled: synthesise(self.voices, wanted, cancelled), seconds)
        return await self._keep(wanted, spoken)

    async def SynthesizeStream(
        self, request: pb.SynthesizeStreamRequest, context: Context
    ) -> AsyncIterator[pb.SynthesizeStreamResponse]:
        began, parameters = time.perf_counter(), request.parameters
        if request.model:
            named = await asyncio.to_thread(resolve, self.store, request.model, request.voice)
            parameters.checkpoint, parameters.speaker = named
        wanted = _to_request(parameters)
        seconds = _allowed(context, self.settings.stream_timeout_seconds)
        await self._fetch(wanted)
        spoken: list[Spoken] = []
        async with aclosing(_written(self._pcm(wanted, seconds, began, spoken), request.format)) as replies:
            async for reply in replies:
                yield reply
        usage = spoken[0].usage
        yield pb.SynthesizeStreamResponse(
            sample_rate_hertz=SAMPLE_RATE_HERTZ,
            result=await self._keep(wanted, spoken[0]),
            text_token_count=usage.text_tokens,
            audio_token_count=usage.audio_tokens,
        )

    async def ListUtterances(self, request: pb.ListUtterancesRequest, context: Context) -> pb.ListUtterancesResponse:
        limit = request.limit or history.DEFAULT_LIMIT
        found = await asyncio.to_thread(
            history.list_utterances, self.store, checkpoint=request.checkpoint, limit=limit, before=request.before
        )
        return pb.ListUtterancesResponse(utterances=map(to_utterance, found))

    async def DeleteUtterance(self, request: pb.DeleteUtteranceRequest, context: Context) -> pb.DeleteUtteranceResponse:
        await asyncio.to_thread(history.forget, self.store, request.utterance_id)
        return pb.DeleteUtteranceResponse(utterance_id=request.utterance_id)

    async def CompareCheckpoint(self, request: pb.CompareCheckpointRequest, context: Context) -> pb.CompareCheckpointResponse:
        sampling = make_sampling(seed=request.seed if request.HasField("seed") else None)
        wanted = SpeechRequest(request.checkpoint, request.text, request.language, sampling=sampling)
        seconds = _allowed(context, self.settings.comparison_timeout_seconds)
        await self._fetch(wanted)
        await self._fetch_checkpoint(request.against or BASE)
        made = await self.thread.run(lambda cancelled: self._compare(wanted, request.against, cancelled), seconds)
        return await asyncio.to_thread(self._keep_comparison, made, wanted.text)

    async def CastVote(self, request: pb.CastVoteRequest, context: Context) -> pb.CastVoteResponse:
        voter, preferred = caller.get().subject, preference_of(request.preferred)
        tally = await asyncio.to_thread(votes.cast, self.store, request.comparison_id, voter, preferred, blind=request.blind)
        return pb.CastVoteResponse(tally=to_tally(tally))

    async def GetVotes(self, request: pb.GetVotesRequest, context: Context) -> pb.GetVotesResponse:
        tally = await asyncio.to_thread(votes.count, self.store, request.checkpoint, request.against or BASE)
        return pb.GetVotesResponse(tally=to_tally(tally))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=map(to_model, await asyncio.to_thread(list_models, self.store)))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=to_model(await asyncio.to_thread(get_model, self.store, request.name)))

    async def ExportCheckpoint(
        self, request: pb.ExportCheckpointRequest, context: Context
    ) -> AsyncIterator[pb.ExportCheckpointResponse]:
        info = await asyncio.to_thread(self.files.find, request.checkpoint)
        async with self.exporting:  # one at a time: each takes as much room on the disk as a base model
            parts = export_zip(self.settings, self.files, info)
            async with aclosing(on_a_thread(parts)) as contents:
                async for content in contents:
                    yield pb.ExportCheckpointResponse(content=content)

    async def GetInferenceStatus(
        self, request: pb.GetInferenceStatusRequest, context: Context
    ) -> pb.GetInferenceStatusResponse:
        return pb.GetInferenceStatusResponse(
            loaded_checkpoints=self.voices.loaded_names,
            queued_count=self.thread.queued_count,
            queue_limit=self.thread.queue_limit,
        )

    async def preload(self) -> None:
        """Returns once the base model is loaded; each failure is logged, and tried again after a while."""
        pause = _PRELOAD_RETRY_SECONDS
        while True:
            try:
                await self.thread.run(lambda _: self.voices.get(BASE), self.settings.load_timeout_seconds)
                return
            except TimbreError as error:
                logger.error("the base model could not be loaded, next try in %.0f s: %s", pause, error.message)
            except Exception:
                logger.exception("the base model could not be loaded, next try in %.0f s", pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PRELOAD_RETRY_LIMIT_SECONDS)

    async def _fetch(self, wanted: SpeechRequest) -> None:
        """Copies what a request needs to this machine, beside the work of the model thread and not in its way."""
        await self._fetch_checkpoint(wanted.checkpoint)
        if is_checkpoint(wanted.speaker):
            await self._fetch_checkpoint(wanted.speaker)

    async def _fetch_checkpoint(self, name: str) -> None:
        if name != BASE:
            info = await asyncio.to_thread(self.files.find, name)
            await asyncio.to_thread(self.files.fetch, info)

    async def _pcm(
        self, wanted: SpeechRequest, seconds: float, began: float, spoken: list[Spoken]
    ) -> AsyncGenerator[bytes, None]:
        """Speaks and gives samples as they are made; what was spoken is added to `spoken` at the end."""

        def work(cancelled: Cancelled, emit: Callable[[bytes], None]) -> None:
            made = synthesise(self.voices, wanted, cancelled, lambda stretch: emit(to_pcm16(stretch).astype("<i2").tobytes()))
            spoken.append(made)

        first = True
        async with aclosing(self.thread.stream(work, seconds)) as chunks:
            async for pcm in chunks:
                if first:
                    telemetry.observe("timbre_synthesis_first_audio_seconds", time.perf_counter() - began)
                    first = False
                yield pcm

    async def _keep(self, wanted: SpeechRequest, spoken: Spoken) -> pb.SynthesizeResponse:
        """Keeps what was spoken, beside the work of the model thread and not in its way."""
        telemetry.observe("timbre_synthesis_real_time_factor", spoken.real_time_factor)
        kept = await asyncio.to_thread(keep_speech, self.store, wanted, spoken)
        return pb.SynthesizeResponse(
            audio_key=kept.audio_key, duration_seconds=kept.duration_seconds, real_time_factor=kept.real_time_factor
        )

    def _compare(self, wanted: SpeechRequest, against: str, cancelled: Cancelled) -> Comparison:
        return compare(self.voices, wanted.checkpoint, against, wanted.text, wanted.language, wanted.sampling, cancelled)

    def _keep_comparison(self, made: Comparison, text: str) -> pb.CompareCheckpointResponse:
        both = {"ab_test/base": made.base, "ab_test/finetuned": made.finetuned}
        base_key, finetuned_key = store_together(self.store, both, SAMPLE_RATE_HERTZ)
        scores = made.finetuned_scores
        keep_scores(self.store, made.checkpoint, similarity=scores.similarity, mfcc_score=scores.mfcc_score)
        compared = votes.Compared(made.checkpoint, made.against, text)
        comparison_id = votes.keep_comparison(self.store, finetuned_key, compared)
        return _to_response(made, base_key, finetuned_key, comparison_id)


async def _written(
    pcm: AsyncGenerator[bytes, None], wanted: pb.AudioFormat.ValueType
) -> AsyncGenerator[pb.SynthesizeStreamResponse, None]:
    """Makes replies of samples: as they are, or in the format that was asked for."""
    async with aclosing(pcm):
        if wanted == pb.AUDIO_FORMAT_UNSPECIFIED:
            async for chunk in pcm:
                yield pb.SynthesizeStreamResponse(pcm=chunk, sample_rate_hertz=SAMPLE_RATE_HERTZ)
            return
        async with aclosing(encode(pcm, format_of(wanted))) as encoded:
            async for chunk in encoded:
                yield pb.SynthesizeStreamResponse(encoded=chunk)


def _to_request(parameters: pb.SpeechParameters) -> SpeechRequest:
    given = {name: getattr(parameters, name) for name in ("temperature", "speed", "seed") if parameters.HasField(name)}
    return SpeechRequest(
        checkpoint=parameters.checkpoint,
        text=parameters.text,
        language=parameters.language,
        speaker=parameters.speaker,
        sampling=make_sampling(**given),
    )


def _to_response(made: Comparison, base_key: str, finetuned_key: str, comparison_id: str) -> pb.CompareCheckpointResponse:
    return pb.CompareCheckpointResponse(
        base_audio_key=base_key,
        finetuned_audio_key=finetuned_key,
        similarity=made.finetuned_scores.similarity,
        mfcc_score=made.finetuned_scores.mfcc_score,
        base_similarity=made.base_scores.similarity,
        base_mfcc_score=made.base_scores.mfcc_score,
        comparison_id=comparison_id,
    )


def _allowed(context: Context, seconds: float) -> float:
    """Returns how long a call may take: what the settings say, or less when the caller waits less."""
    remaining = context.time_remaining()
    return seconds if remaining is None else min(seconds, remaining)
