"""InferenceService over gRPC: translates messages, and puts work in line for the model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from timbre.inference.v1 import inference_pb2 as pb
from timbre.inference.v1 import inference_pb2_grpc

from services.inference.audio_objects import store_together
from services.inference.checkpoints import BASE, CheckpointFiles
from services.inference.comparison import Comparison, compare_with_base
from services.inference.model_thread import Cancelled, ModelThread
from services.inference.requests import SpeechRequest, make_sampling
from services.inference.settings import InferenceSettings
from services.inference.synthesis import SAMPLE_RATE_HERTZ, synthesise
from services.inference.voices import Voices
from services.inference.waveform import to_pcm16
from services.runtime import telemetry
from services.runtime.errors import TimbreError
from services.runtime.store import ObjectStore

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
    """

    settings: InferenceSettings
    store: ObjectStore
    files: CheckpointFiles
    voices: Voices
    thread: ModelThread

    async def LoadCheckpoint(self, request: pb.LoadCheckpointRequest, context: Context) -> pb.LoadCheckpointResponse:
        await self._fetch(request.checkpoint)
        seconds = _allowed(context, self.settings.load_timeout_seconds)
        loaded = await self.thread.run(lambda _: self.voices.get(request.checkpoint), seconds)
        return pb.LoadCheckpointResponse(checkpoint=loaded.name)

    async def Synthesize(self, request: pb.SynthesizeRequest, context: Context) -> pb.SynthesizeResponse:
        wanted = _to_request(request.parameters)
        seconds = _allowed(context, self.settings.synthesis_timeout_seconds)
        await self._fetch(wanted.checkpoint)
        return await self.thread.run(lambda cancelled: self._synthesise(wanted, cancelled), seconds)

    async def SynthesizeStream(
        self, request: pb.SynthesizeStreamRequest, context: Context
    ) -> AsyncIterator[pb.SynthesizeStreamResponse]:
        began: float | None = time.perf_counter()
        wanted = _to_request(request.parameters)
        seconds = _allowed(context, self.settings.stream_timeout_seconds)
        await self._fetch(wanted.checkpoint)

        def work(cancelled: Cancelled, emit: Callable[[bytes], None]) -> None:
            for stretch in synthesise(self.voices, wanted, cancelled):
                emit(to_pcm16(stretch).astype("<i2").tobytes())

        async for pcm in self.thread.stream(work, seconds):
            if began is not None:
                telemetry.observe("timbre_synthesis_first_audio_seconds", time.perf_counter() - began)
                began = None
            yield pb.SynthesizeStreamResponse(pcm=pcm, sample_rate_hertz=SAMPLE_RATE_HERTZ)

    async def CompareCheckpoint(self, request: pb.CompareCheckpointRequest, context: Context) -> pb.CompareCheckpointResponse:
        sampling = make_sampling(seed=request.seed if request.HasField("seed") else None)
        wanted = SpeechRequest(request.checkpoint, request.text, request.language, sampling=sampling)
        seconds = _allowed(context, self.settings.comparison_timeout_seconds)
        await self._fetch(wanted.checkpoint)
        return await self.thread.run(lambda cancelled: self._compare(wanted, cancelled), seconds)

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

    async def _fetch(self, checkpoint: str) -> None:
        """Copies a checkpoint to this machine, beside the work of the model thread and not in its way."""
        if checkpoint != BASE:
            info = await asyncio.to_thread(self.files.find, checkpoint)
            await asyncio.to_thread(self.files.fetch, info)

    def _synthesise(self, wanted: SpeechRequest, cancelled: Cancelled) -> pb.SynthesizeResponse:
        began = time.perf_counter()
        samples = np.concatenate(list(synthesise(self.voices, wanted, cancelled)))
        computed = time.perf_counter() - began
        (key,) = store_together(self.store, {"inference/inference": samples}, SAMPLE_RATE_HERTZ)
        seconds = len(samples) / SAMPLE_RATE_HERTZ
        telemetry.observe("timbre_synthesis_real_time_factor", computed / seconds)
        return pb.SynthesizeResponse(audio_key=key, duration_seconds=seconds, real_time_factor=computed / seconds)

    def _compare(self, wanted: SpeechRequest, cancelled: Cancelled) -> pb.CompareCheckpointResponse:
        made = compare_with_base(self.voices, wanted.checkpoint, wanted.text, wanted.language, wanted.sampling, cancelled)
        both = {"ab_test/base": made.base, "ab_test/finetuned": made.finetuned}
        base_key, finetuned_key = store_together(self.store, both, SAMPLE_RATE_HERTZ)
        return _to_response(made, base_key, finetuned_key)


def _to_request(parameters: pb.SpeechParameters) -> SpeechRequest:
    given = {name: getattr(parameters, name) for name in ("temperature", "speed", "seed") if parameters.HasField(name)}
    return SpeechRequest(
        checkpoint=parameters.checkpoint,
        text=parameters.text,
        language=parameters.language,
        speaker=parameters.speaker,
        sampling=make_sampling(**given),
    )


def _to_response(made: Comparison, base_key: str, finetuned_key: str) -> pb.CompareCheckpointResponse:
    return pb.CompareCheckpointResponse(
        base_audio_key=base_key,
        finetuned_audio_key=finetuned_key,
        similarity=made.finetuned_scores.similarity,
        mfcc_score=made.finetuned_scores.mfcc_score,
        base_similarity=made.base_scores.similarity,
        base_mfcc_score=made.base_scores.mfcc_score,
    )


def _allowed(context: Context, seconds: float) -> float:
    """Returns how long a call may take: what the settings say, or less when the caller waits less."""
    remaining = context.time_remaining()
    return seconds if remaining is None else min(seconds, remaining)
