"""`/training/start`, `stop`, `status`, `logs`, `metrics`: one training at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from timbre.trainer.v1 import trainer_pb2

from gateway import translate
from gateway.reply import Services, reply, services_of
from gateway.schemas import training
from gateway.schemas.fields import IdempotencyKey, Text
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training", tags=["Training"])


@router.post("/start", response_model=training.TrainingStarted, responses=problems(400, 404, 413, 422))
async def start(body: training.TrainingRequest, services: Services, key: IdempotencyKey = None) -> Response:
    """Start fine-tuning XTTS-v2 on a dataset, as a background job."""
    started = await services.submit(services.trainer.StartTraining, translate.training_request(body), key)
    return reply(translate.training_started(started))


@router.post("/stop", response_model=training.TrainingStopped, responses=problems(400))
async def stop(services: Services) -> Response:
    """Stop the training that runs; answers when it has saved and ended."""
    timeout = services.settings.stop_timeout_seconds
    stopped = await services.call(services.trainer.StopTraining, trainer_pb2.StopTrainingRequest(), timeout)
    return reply(translate.training_stopped(stopped))


@router.get("/status", response_model=training.TrainingStatus, responses=problems())
async def status(request: Request) -> Response:
    """Get how the present training stands, or the last one when none runs. Poll every 5 s, or follow the job's events."""
    services = services_of(request)
    found = await services.call(services.trainer.GetTrainingStatus, trainer_pb2.GetTrainingStatusRequest())
    return reply(translate.training_status(found))


@router.get("/logs", response_model=training.TrainingLogs, responses=problems())
async def logs(services: Services) -> Response:
    """Get the whole log of the present or last training."""
    found = await services.call(services.trainer.GetTrainingLogs, trainer_pb2.GetTrainingLogsRequest())
    return reply(translate.training_logs(found))


@router.get("/metrics", response_model=training.TrainingMetrics, responses=problems(404, 422))
async def metrics(
    services: Services,
    model_name: Annotated[Text, Query(description="The model; without it the one trained last.")] = "",
) -> Response:
    """Get what the trainings of a model recorded: losses, learning rate and more, step by step."""
    request = trainer_pb2.GetTrainingMetricsRequest(model_name=model_name)
    return reply(translate.training_metrics(await services.call(services.trainer.GetTrainingMetrics, request)))
