"""`/training/inference/…`: speak a text, compare the base model with a checkpoint."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway import translate
from gateway.reply import Services, reply
from gateway.schemas import inference
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training/inference", tags=["Inference"])


@router.post("/synthesize", response_model=inference.Synthesized, responses=problems(404, 413, 422))
async def synthesize(request: Request, body: inference.SynthesisRequest, services: Services) -> Response:
    """Speak a text with a checkpoint or the base model. Hanging up cancels it."""
    wanted, timeout = translate.synthesis_request(body), services.settings.synthesis_timeout_seconds
    spoken = await services.call_while_connected(request, services.inference.Synthesize, wanted, timeout)
    return reply(translate.synthesized(body, spoken, request.app.state.link))


@router.post("/ab-test", response_model=inference.Comparison, responses=problems(400, 404, 413, 422))
async def ab_test(request: Request, body: inference.ComparisonRequest, services: Services) -> Response:
    """Speak a text with the base model and with a checkpoint, and score both against held-out recordings of the voice."""
    wanted, timeout = translate.comparison_request(body), services.settings.comparison_timeout_seconds
    compared = await services.call_while_connected(request, services.inference.CompareCheckpoint, wanted, timeout)
    return reply(translate.comparison(compared, request.app.state.link))
