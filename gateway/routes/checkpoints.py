"""`/training/checkpoints`: list them, load, promote, delete one, take one along."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from timbre.inference.v1 import inference_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway import objects, translate
from gateway.balancing import count_replicas
from gateway.reply import Services, reply, reply_checkpoints, reply_stream
from gateway.schemas import training
from gateway.schemas.fields import Text
from gateway.schemas.inference import CHECKPOINT
from gateway.schemas.problem import problems
from services.runtime.keys import check_name

Path = Annotated[Text, Query(description="Path of the checkpoint, as the list gives it.", examples=[CHECKPOINT])]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ZIP: dict[int | str, dict[str, Any]] = {200: {"description": "The zip.", "content": {"application/zip": _BINARY}}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"application/octet-stream": _BINARY}},
    206: {"description": "The part that `Range` asked for.", "content": {"application/octet-stream": {}}},
    304: {"description": "The client has it already (`If-None-Match`, `If-Modified-Since`)."},
}
_FILE_RESPONSES = {**_FILE, **problems(404, 416, 422, always=(500, 503))}

router = APIRouter(prefix="/training/checkpoints", tags=["Checkpoints"])


@router.get("", response_model=list[training.Checkpoint], responses=problems(422))
async def checkpoints(
    services: Services,
    model_name: Annotated[Text, Query(description="Filter by model name; without it all models.")] = "",
) -> Response:
    """List the checkpoints there are, newest first."""
    request = trainer_pb2.ListCheckpointsRequest(model_name=model_name)
    found = await services.call(services.trainer.ListCheckpoints, request)
    return reply_checkpoints([translate.checkpoints.checkpoint(one) for one in found.checkpoints])


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
    return reply(translate.checkpoints.loaded(loaded))


@router.delete("", response_model=training.CheckpointDeleted, responses=problems(400, 404, 422))
async def delete_checkpoint(services: Services, checkpoint_path: Path) -> Response:
    """Delete a checkpoint. The newest one of a model that is being trained stays: 400."""
    wanted = trainer_pb2.DeleteCheckpointRequest(checkpoint=checkpoint_path)
    return reply(translate.checkpoints.deleted(await services.call(services.trainer.DeleteCheckpoint, wanted)))


@router.post("/promote", response_model=training.CheckpointPromoted, responses=problems(404, 422))
async def promote(services: Services, checkpoint_path: Path) -> Response:
    """Make a checkpoint its voice's current one: what speaks when only the voice is named."""
    wanted = trainer_pb2.PromoteCheckpointRequest(checkpoint=checkpoint_path)
    return reply(translate.checkpoints.promoted(await services.call(services.trainer.PromoteCheckpoint, wanted)))


@router.get("/export", response_class=Response, responses={**_ZIP, **problems(400, 404, 422)})
async def export_checkpoint(request: Request, services: Services, checkpoint_path: Path) -> Response:
    """Get a checkpoint as a zip of the folder that stock coqui-tts loads, as it is made."""
    headers = {"Content-Disposition": _attachment(checkpoint_path, ".zip")}
    wanted = inference_pb2.ExportCheckpointRequest(checkpoint=checkpoint_path)
    timeout = services.settings.stream_timeout_seconds
    replies = services.stream_while_connected(request, services.inference.ExportCheckpoint, wanted, timeout)
    return await reply_stream(replies, lambda part: part.content, "application/zip", headers=headers)


@router.get("/file", response_class=Response, responses=_FILE_RESPONSES)
async def get_checkpoint_file(request: Request, checkpoint_path: Path) -> Response:
    """Get the file of a checkpoint, whole or by `Range`."""
    return await _file(request, checkpoint_path)


@router.head("/file", response_class=Response, responses=_FILE_RESPONSES)
async def head_checkpoint_file(request: Request, checkpoint_path: Path) -> Response:
    """Get the headers of the file of a checkpoint."""
    return await _file(request, checkpoint_path)


async def _file(request: Request, path: str) -> Response:
    headers = {"Content-Disposition": _attachment(path, ".pth")}
    response = await objects.serve(request.app.state.store, path, request, objects.CHECKPOINTS)
    response.headers.update(headers)
    return response


def _attachment(path: str, ending: str) -> str:
    """Returns what makes a browser save a file: the model's name goes along, since all have checkpoints of one name.

    Raises:
        InvalidArgument: The path is none of a checkpoint.
    """
    parts = check_name(path, field="checkpoint_path", under=("train/output/",)).removesuffix(".pth").split("/")
    return f'attachment; filename="{parts[2]}-{parts[-1]}{ending}"'
