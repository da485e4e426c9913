"""Between protos and the JSON of training, its runs and the voices."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp
from timbre.trainer.v1 import trainer_pb2

from gateway.schemas import training
from gateway.translate.inference import utterance
from gateway.translate.values import Link, given, moment

TrainingState = Literal["idle", "running", "completed", "failed", "stopped"]

_TRAINING_STATES: dict[int, TrainingState] = {
    trainer_pb2.TRAINING_STATE_IDLE: "idle",
    trainer_pb2.TRAINING_STATE_RUNNING: "running",
    trainer_pb2.TRAINING_STATE_COMPLETED: "completed",
    trainer_pb2.TRAINING_STATE_FAILED: "failed",
    trainer_pb2.TRAINING_STATE_STOPPED: "stopped",
}


def request(body: training.TrainingRequest) -> trainer_pb2.StartTrainingRequest:
    return trainer_pb2.StartTrainingRequest(
        model_name=body.model_name,
        dataset_folder=body.dataset_folder,
        epochs=body.epochs,
        batch_size=body.batch_size,
        learning_rate=body.learning_rate,
        use_deepspeed=body.use_deepspeed,
        resume=body.resume,
        overwrite=body.overwrite,
        language=body.language,
    )


def started(reply: trainer_pb2.StartTrainingResponse) -> training.TrainingStarted:
    return training.TrainingStarted(model_name=reply.model_name, output_folder=reply.output_folder, job_id=reply.job_id)


def stopped(reply: trainer_pb2.StopTrainingResponse) -> training.TrainingStopped:
    del reply  # the documented answer names no job
    return training.TrainingStopped()


def status(reply: trainer_pb2.GetTrainingStatusResponse) -> training.TrainingStatus:
    return training.TrainingStatus(
        state=_TRAINING_STATES[reply.state],
        epoch=reply.epoch,
        total_epochs=reply.total_epochs,
        loss=reply.loss if reply.HasField("loss") else None,
        progress=reply.progress_percent,
        logs="\n".join(reply.log_lines),
    )


def logs(reply: trainer_pb2.GetTrainingLogsResponse) -> training.TrainingLogs:
    return training.TrainingLogs(logs="\n".join(reply.log_lines))


def metrics(reply: trainer_pb2.GetTrainingMetricsResponse) -> training.TrainingMetrics:
    series = {
        one.name: training.Series(
            steps=[point.step for point in one.points],
            values=[point.value for point in one.points],
            times=[_seconds(point.create_time) for point in one.points],
        )
        for one in reply.series
    }
    return training.TrainingMetrics(model_name=reply.model_name, series=series)


def estimate(reply: trainer_pb2.EstimateTrainingResponse) -> training.Estimate:
    return training.Estimate(
        steps=reply.step_count,
        clips=reply.clip_count,
        hours=reply.hours,
        disk_bytes=given(reply, "disk_bytes"),
        seconds=given(reply, "duration_seconds"),
        basis=reply.basis,
    )


def runs(reply: trainer_pb2.ListRunsResponse) -> training.Runs:
    return training.Runs(runs=[_run(one) for one in reply.runs])


def _run(message: trainer_pb2.Run) -> training.Run:
    asked = message.parameters
    return training.Run(
        job_id=message.job_id,
        model_name=message.model_name,
        state=_TRAINING_STATES[message.state],
        started_at=moment(message.start_time) if message.HasField("start_time") else None,
        ended_at=moment(message.end_time) if message.HasField("end_time") else None,
        parameters=training.RunParameters(**{name: getattr(asked, name) for name in training.RunParameters.model_fields}),
        epochs_done=message.epoch_count,
        last_loss=given(message, "last_loss"),
        last_eval_loss=given(message, "last_eval_loss"),
        seconds_per_step=given(message, "seconds_per_step"),
    )


def voices(reply: trainer_pb2.ListVoicesResponse, link: Link) -> training.Voices:
    return training.Voices(voices=[_voice(one, link) for one in reply.voices])


def _voice(message: trainer_pb2.Voice, link: Link) -> training.Voice:
    return training.Voice(
        name=message.name,
        dataset_folder=message.dataset_folder or None,
        language=message.language,
        current=message.current_checkpoint or None,
        checkpoints=message.checkpoint_count,
        best_checkpoint=message.best_checkpoint or None,
        last_loss=given(message, "last_loss"),
        last_eval_loss=given(message, "last_eval_loss"),
        state=_TRAINING_STATES[message.state],
        updated_at=moment(message.update_time),
        sample=utterance(message.sample, link) if message.HasField("sample") else None,
    )


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
