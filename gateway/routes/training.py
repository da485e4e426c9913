"""`/training/start`, `stop`, `status`, `logs`, `metrics`: one training at a time; `estimate`, `runs` and the `voices` made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from timbre.trainer.v1 import trainer_pb2

from gateway import translate
from gateway.reply import IdempotencyKey, Services, reply, services_of
from gateway.schemas import training
from gateway.schemas.fields import Text
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training", tags=["Training"])


@router.post("/start", response_model=training.TrainingStarted, responses=problems(400, 404, 413, 422))
async def start(body: training.TrainingRequest, services: Services, key: IdempotencyKey = None) -> Response:
    """Start fine-tuning XTTS-v2 on a dataset, as a background job."""
    started = await services.submit(services.trainer.StartTraining, translate.training.request(body), key)
    return reply(translate.training.started(started))


@router.post("/stop", response_model=training.TrainingStopped, responses=problems(400))
async def stop(services: Services) -> Response:
    """Stop the training that runs; answers when it has saved and ended."""
    timeout = services.settings.stop_timeout_seconds
    stopped = await services.call(services.trainer.StopTraining, trainer_pb2.StopTrainingRequest(), timeout)
    return reply(translate.training.stopped(stopped))


@router.get("/status", response_model=training.TrainingStatus, responses=problems())
async def status(request: Request) -> Response:
    """Get how the present training stands, or the last one when none runs. Poll every 5 s, or follow the job's events."""
    services = services_of(request)
    found = await services.call(services.trainer.GetTrainingStatus, trainer_pb2.GetTrainingStatusRequest())
    return reply(translate.training.status(found))


@router.get("/logs", response_model=training.TrainingLogs, responses=problems())
async def logs(services: Services) -> Response:
    """Get the whole log of the present or last training."""
    found = await services.call(services.trainer.GetTrainingLogs, trainer_pb2.GetTrainingLogsRequest())
    return reply(translate.training.logs(found))


@router.get("/metrics", response_model=training.TrainingMetrics, responses=problems(404, 422))
async def metrics(
    services: Services,
    model_name: Annotated[Text, Query(description="The model; without it the one trained last.")] = "",
    job_id: Annotated[Text, Query(description="One training: its series only.", examples=["job_0199c1a2b3c4d5e6f7a8"])] = "",
) -> Response:
    """Get what the trainings of a model recorded: losses, learning rate and more, step by step."""
    request = trainer_pb2.GetTrainingMetricsRequest(model_name=model_name, job_id=job_id)
    return reply(translate.training.metrics(await services.call(services.trainer.GetTrainingMetrics, request)))


@router.post("/estimate", response_model=training.Estimate, responses=problems(400, 404, 413, 422))
async def estimate(body: training.TrainingRequest, services: Services) -> Response:
    """Say what a training would take in time and disk, from what earlier ones on this installation took."""
    request = trainer_pb2.EstimateTrainingRequest(training=translate.training.request(body))
    return reply(translate.training.estimate(await services.call(services.trainer.EstimateTraining, request)))


@router.get("/runs", response_model=training.Runs, responses=problems(422))
async def runs(
    services: Services,
    model_name: Annotated[
        Text, Query(description="Filter by model name; without it all models.", examples=["my_voice_model"])
    ] = "",
    limit: Annotated[training.RunLimit, Query(description="Maximum trainings to return.")] = 20,
) -> Response:
    """List trainings, newest first; `metrics` has the series of each by its `job_id`."""
    request = trainer_pb2.ListRunsRequest(model_name=model_name, limit=limit)
    return reply(translate.training.runs(await services.call(services.trainer.ListRuns, request)))


@router.get("/voices", response_model=training.Voices, responses=problems())
async def voices(request: Request, services: Services) -> Response:
    """List the voices there are: every model that has checkpoints or was trained, the one that changed last first."""
    found = await services.call(services.trainer.ListVoices, trainer_pb2.ListVoicesRequest())
    return reply(translate.training.voices(found, request.app.state.link))
