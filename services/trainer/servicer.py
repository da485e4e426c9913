"""TrainerService over gRPC: each method translates a request, asks the job queue or the store, translates the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from timbre.trainer.v1 import trainer_pb2 as pb
from timbre.trainer.v1 import trainer_pb2_grpc

from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.machine import wait_for_exit
from services.runtime.jobs.queue import JobActive
from services.runtime.jobs.servicer import to_timestamp
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.store import ObjectStore
from services.trainer import admission, estimate, runs
from services.trainer.requests import model_name_of, training_parameters
from services.trainer.runs import TRAIN, list_runs
from services.trainer.settings import TrainerSettings
from services.trainer.voices import Voice, list_voices
from services.trainer.work import read_clips
from services.voices import selection
from services.voices.checkpoints import output_folder
from services.voices.messages import to_utterance
from services.voices.selection import Standing, standings

Context = grpc.aio.ServicerContext[Any, Any]

KINDS = (TRAIN,)

_STATES = {
    JobState.QUEUED: pb.TRAINING_STATE_RUNNING,
    JobState.RUNNING: pb.TRAINING_STATE_RUNNING,
    JobState.SUCCEEDED: pb.TRAINING_STATE_COMPLETED,
    JobState.FAILED: pb.TRAINING_STATE_FAILED,
    JobState.STOPPED: pb.TRAINING_STATE_STOPPED,
}
_ASKED = frozenset(pb.StartTrainingRequest.DESCRIPTOR.fields_by_name)
_STATUS_LINES = 50
_STOP_POLL_SECONDS = 0.05


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    """Serves the trainings of one database and the checkpoints of one object store."""

    def __init__(self, settings: TrainerSettings, store: ObjectStore, queue: JobQueue, supervisor: Supervisor) -> None:
        self._settings = settings
        self._store = store
        self._queue = queue
        self._supervisor = supervisor

    async def StartTraining(self, request: pb.StartTrainingRequest, context: Context) -> pb.StartTrainingResponse:
        parameters = training_parameters(request)
        model = parameters["model_name"]
        job = await asyncio.to_thread(self._queue.accepted, TRAIN, model, parameters) or await self._admit(parameters)
        return pb.StartTrainingResponse(job_id=job.id, model_name=model, output_folder=output_folder(model))

    async def _admit(self, parameters: dict[str, Any]) -> Job:
        model, folder = parameters["model_name"], parameters["dataset_folder"]
        if (active := await self._active()) is not None:
            raise admission.TrainingRunning(active)
        await asyncio.to_thread(admission.check_dataset, self._store, self._queue, folder)
        await asyncio.to_thread(admission.check_model, self._store, parameters)
        try:
            job = await asyncio.to_thread(
                self._queue.submit, TRAIN, model, parameters, after_subjects=(folder,), unless_active=TRAIN
            )
        except JobActive as error:
            raise admission.TrainingRunning(error.job) from None
        self._supervisor.wake()
        return job

    async def StopTraining(self, request: pb.StopTrainingRequest, context: Context) -> pb.StopTrainingResponse:
        job = await self._active()
        if job is None:
            raise admission.NoTrainingRunning
        await asyncio.to_thread(self._queue.cancel, job.id)
        self._supervisor.wake()
        while not job.ended:
            await asyncio.sleep(_STOP_POLL_SECONDS)
            running, job = job, await asyncio.to_thread(self._queue.get, job.id)
            if job.ended:
                await wait_for_exit(running, timeout_seconds=self._settings.stop_grace_seconds)
        return pb.StopTrainingResponse(job_id=job.id)

    async def GetTrainingStatus(self, request: pb.GetTrainingStatusRequest, context: Context) -> pb.GetTrainingStatusResponse:
        return await asyncio.to_thread(self._status)

    async def GetTrainingLogs(self, request: pb.GetTrainingLogsRequest, context: Context) -> pb.GetTrainingLogsResponse:
        job = await asyncio.to_thread(self._latest)
        lines = [] if job is None else await asyncio.to_thread(self._queue.log_lines, job.id)
        return pb.GetTrainingLogsResponse(log_lines=[line.text for line in lines])

    async def GetTrainingMetrics(
        self, request: pb.GetTrainingMetricsRequest, context: Context
    ) -> pb.GetTrainingMetricsResponse:
        model = model_name_of(request.model_name) if request.model_name else ""
        return await asyncio.to_thread(self._metrics, model, request.job_id)

    async def EstimateTraining(self, request: pb.EstimateTrainingRequest, context: Context) -> pb.EstimateTrainingResponse:
        parameters = training_parameters(request.training)
        made = await asyncio.to_thread(self._estimate, parameters)
        return pb.EstimateTrainingResponse(
            step_count=made.steps,
            clip_count=made.clips,
            hours=made.hours,
            disk_bytes=made.disk_bytes,
            duration_seconds=made.seconds,
            basis=made.basis,
        )

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        model = model_name_of(request.model_name) if request.model_name else ""
        found = await asyncio.to_thread(list_runs, self._queue, model, request.limit or runs.DEFAULT_LIMIT)
        return pb.ListRunsResponse(runs=map(_to_run, found))

    async def ListVoices(self, request: pb.ListVoicesRequest, context: Context) -> pb.ListVoicesResponse:
        return pb.ListVoicesResponse(voices=map(_to_voice, await asyncio.to_thread(list_voices, self._store, self._queue)))

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        model = model_name_of(request.model_name) if request.model_name else None
        found = await asyncio.to_thread(standings, self._store, model)
        return pb.ListCheckpointsResponse(checkpoints=map(_to_checkpoint, found))

    async def DeleteCheckpoint(self, request: pb.DeleteCheckpointRequest, context: Context) -> pb.DeleteCheckpointResponse:
        gone = await asyncio.to_thread(selection.delete, self._store, request.checkpoint, await self._active())
        return pb.DeleteCheckpointResponse(checkpoint=gone.key)

    async def PromoteCheckpoint(self, request: pb.PromoteCheckpointRequest, context: Context) -> pb.PromoteCheckpointResponse:
        entry = await asyncio.to_thread(selection.promote, self._store, request.checkpoint)
        return pb.PromoteCheckpointResponse(model_name=entry.model_name, checkpoint=entry.key)

    def _latest(self) -> Job | None:
        return next(iter(self._queue.find(kind=TRAIN, limit=1)), None)

    async def _active(self) -> Job | None:
        job = await asyncio.to_thread(self._latest)
        return None if job is None or job.ended else job

    def _status(self) -> pb.GetTrainingStatusResponse:
        job = self._latest()
        if job is None:
            return pb.GetTrainingStatusResponse(state=pb.TRAINING_STATE_IDLE)
        last = self._queue.last_values(job.id, ("epoch", "loss"))
        completed = job.state is JobState.SUCCEEDED
        return pb.GetTrainingStatusResponse(
            state=_STATES[job.state],
            epoch=int(last.get("epoch", 0)),
            total_epochs=int(job.parameters["epochs"]),
            loss=last.get("loss"),
            progress_percent=100 if completed else min(int(100 * job.progress), 99),
            log_lines=[line.text for line in self._queue.log_lines(job.id, tail=_STATUS_LINES)],
            job_id=job.id,
            model_name=job.subject,
            remaining_seconds=job.remaining_seconds,
            error=job.error,
        )

    def _estimate(self, parameters: dict[str, Any]) -> estimate.Estimate:
        folder = parameters["dataset_folder"]
        admission.check_dataset(self._store, self._queue, folder)
        clips = read_clips(self._store, folder, parameters["language"])
        return estimate.estimate(self._store, self._queue, parameters, clips, self._settings.base_model)

    def _metrics(self, model: str, job_id: str) -> pb.GetTrainingMetricsResponse:
        if job_id:
            job = runs.find_run(self._queue, job_id)
            model, jobs = job.subject, [job]
        else:
            latest = self._latest()
            model = model or (latest.subject if latest else "")
            jobs = self._queue.find(kind=TRAIN, subject=model, limit=1000) if model else []
        values: dict[str, dict[int, pb.MetricPoint]] = {}
        for job in reversed(jobs):
            if not job.parameters.get("resume"):
                values.clear()  # a run that began anew
            for point in self._queue.series(job.id):
                message = pb.MetricPoint(step=point.step, value=point.value, create_time=to_timestamp(point.created_at))
                values.setdefault(point.name, {})[point.step] = message
        return pb.GetTrainingMetricsResponse(
            model_name=model,
            series=[
                pb.MetricSeries(name=name, points=[points[step] for step in sorted(points)])
                for name, points in sorted(values.items())
            ],
        )


def _to_checkpoint(standing: Standing) -> pb.Checkpoint:
    entry = standing.entry
    return pb.Checkpoint(
        name=entry.name,
        path=entry.key,
        epoch=entry.epoch,
        create_time=to_timestamp(entry.modified.timestamp()),
        size_bytes=entry.size_bytes,
        model_name=entry.model_name,
        loss=standing.loss,
        eval_loss=standing.eval_loss,
        similarity=standing.similarity,
        mfcc_score=standing.mfcc_score,
        current=standing.current,
        best=standing.best,
    )


def _to_run(run: runs.Run) -> pb.Run:
    job = run.job
    return pb.Run(
        job_id=job.id,
        model_name=job.subject,
        state=_STATES[job.state],
        start_time=to_timestamp(job.started_at) if job.started_at else None,
        end_time=to_timestamp(job.ended_at) if job.ended_at else None,
        parameters=pb.StartTrainingRequest(**{name: value for name, value in job.parameters.items() if name in _ASKED}),
        epoch_count=run.epochs,
        last_loss=run.last_loss,
        last_eval_loss=run.last_eval_loss,
        seconds_per_step=run.seconds_per_step,
    )


def _to_voice(voice: Voice) -> pb.Voice:
    return pb.Voice(
        name=voice.name,
        dataset_folder=voice.dataset_folder,
        language=voice.language,
        current_checkpoint=voice.current,
        checkpoint_count=len(voice.checkpoints),
        best_checkpoint=voice.best,
        last_loss=voice.last_loss,
        last_eval_loss=voice.last_eval_loss,
        state=_STATES[voice.newest.state] if voice.newest else pb.TRAINING_STATE_IDLE,
        update_time=to_timestamp(voice.updated_at),
        sample=to_utterance(voice.sample) if voice.sample else None,
    )
