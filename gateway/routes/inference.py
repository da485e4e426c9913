"""`/training/inference/…`: speak a text, what was spoken, compare a checkpoint with another model, vote on that."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from timbre.inference.v1 import inference_pb2

from gateway import translate
from gateway.reply import Services, reply, reply_stream
from gateway.schemas import inference
from gateway.schemas.fields import Text
from gateway.schemas.problem import problems

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Audio as it is made.", "content": {"audio/wav": _BINARY, "audio/pcm": _BINARY}}
}

router = APIRouter(prefix="/training/inference", tags=["Inference"])


@router.post("/synthesize", response_model=inference.Synthesized, responses=problems(404, 413, 422))
async def synthesize(request: Request, body: inference.SynthesisRequest, services: Services) -> Response:
    """Speak a text with a checkpoint or the base model. Hanging up cancels it."""
    wanted, timeout = translate.inference.synthesis_request(body), services.settings.synthesis_timeout_seconds
    spoken = await services.call_while_connected(request, services.inference.Synthesize, wanted, timeout)
    return reply(translate.inference.synthesized(body, spoken, request.app.state.link))


@router.post("/stream", response_class=Response, responses={**_STREAM, **problems(404, 413, 422)})
async def stream(request: Request, body: inference.StreamRequest, services: Services) -> Response:
    """Speak a text and send the audio while it is made, sentence by sentence. Hanging up cancels it.

    It is kept as `synthesize` keeps its own when it ends: see `history`.
    """
    wanted, timeout = translate.inference.stream_request(body), services.settings.stream_timeout_seconds
    replies = services.stream_while_connected(request, services.inference.SynthesizeStream, wanted, timeout)
    if body.format == "wav":
        return await reply_stream(replies, lambda spoken: spoken.encoded, "audio/wav")
    return await reply_stream(replies, lambda spoken: spoken.pcm, "audio/pcm;rate=22050;channels=1")


@router.get("/history", response_model=inference.History, responses=problems(422))
async def history(
    request: Request,
    services: Services,
    checkpoint: Annotated[Text, Query(description="Only what this checkpoint, or `base`, said.", examples=["base"])] = "",
    limit: Annotated[inference.Limit, Query(description="Maximum utterances to return.")] = 50,
    before: Annotated[
        Text, Query(description="Only what is older: the id of the last one of a page.", examples=["inference_20251206_143000"])
    ] = "",
) -> Response:
    """List what was spoken, newest first."""
    wanted = inference_pb2.ListUtterancesRequest(checkpoint=checkpoint, limit=limit, before=before)
    found = await services.call(services.inference.ListUtterances, wanted)
    return reply(translate.inference.history(found, request.app.state.link))


@router.delete("/history/{utterance_id}", response_model=inference.UtteranceDeleted, responses=problems(404, 422))
async def delete_utterance(utterance_id: Text, services: Services) -> Response:
    """Delete something that was spoken, audio and all."""
    wanted = inference_pb2.DeleteUtteranceRequest(utterance_id=utterance_id)
    return reply(translate.inference.utterance_deleted(await services.call(services.inference.DeleteUtterance, wanted)))


@router.post("/votes", response_model=inference.Votes, responses=problems(404, 413, 422))
async def vote(body: inference.Vote, services: Services) -> Response:
    """Say which side of a comparison is preferred. Of several votes of one caller on one comparison the last counts."""
    cast = await services.call(services.inference.CastVote, translate.inference.vote(body))
    return reply(translate.inference.votes(cast.tally))


@router.get("/votes", response_model=inference.Votes, responses=problems(422))
async def votes(
    services: Services,
    checkpoint: Annotated[Text, Query(description="Path of the checkpoint.", examples=[inference.CHECKPOINT])],
    against: Annotated[Text, Query(description="What it was compared with.", examples=["base"])] = "base",
) -> Response:
    """Count the votes on the comparisons of two models, with a confidence interval."""
    wanted = inference_pb2.GetVotesRequest(checkpoint=checkpoint, against=against)
    return reply(translate.inference.votes((await services.call(services.inference.GetVotes, wanted)).tally))


@router.post("/ab-test", response_model=inference.Comparison, responses=problems(400, 404, 413, 422))
async def ab_test(request: Request, body: inference.ComparisonRequest, services: Services) -> Response:
    """Speak a text with a checkpoint and with the base model, or another one, and score both.

    They are held against recordings of the checkpoint's voice that its training did not see.
    """
    wanted, timeout = translate.inference.comparison_request(body), services.settings.comparison_timeout_seconds
    compared = await services.call_while_connected(request, services.inference.CompareCheckpoint, wanted, timeout)
    return reply(translate.inference.comparison(compared, request.app.state.link))
