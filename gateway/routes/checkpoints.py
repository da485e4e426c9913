"""`/training/checkpoints`: list them, load one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from timbre.inference.v1 import inference_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway import translate
from gateway.balancing import count_replicas
from gateway.reply import Services, reply, reply_checkpoints
from gateway.schemas import training
from gateway.schemas.fields import Text
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training/checkpoints", tags=["Checkpoints"])


@router.get("", response_model=list[training.Checkpoint], responses=problems(422))
async def checkpoints(
    services: Services,
    model_name: Annotated[Text, Query(description="Filter by model name; without it all models.")] = "",
) -> Response:
    """List the checkpoints there are, newest first."""
    request = trainer_pb2.ListCheckpointsRequest(model_name=model_name)
    found = await services.call(services.trainer.ListCheckpoints, request)
    return reply_checkpoints([translate.checkpoint(one) for one in found.checkpoints])


@router.post("/load", response_model=training.CheckpointLoaded, responses=problems(404, 422))
async def load(
    request: Request,
    services: Services,
    checkpoint_path: Annotated[Text, Query(description="Path of the checkpoint, as the list gives it, or `base`.")],
) -> Response:
    """Load a checkpoint, so that the next synthesis with it starts at once, at whichever replica of the inference service."""
    wanted = inference_pb2.LoadCheckpointRequest(checkpoint=checkpoint_path)
    timeout = services.settings.load_timeout_seconds
    times = await count_replicas(services.settings.inference_address)
    loaded = await services.call_while_connected(request, services.inference.LoadCheckpoint, wanted, timeout, times)
    return reply(translate.checkpoint_loaded(loaded))
