"""Between protos and the JSON of the HTTP interface: one pure function a direction and message."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.dataset.v1 import dataset_pb2
from timbre.inference.v1 import inference_pb2
from timbre.jobs.v1 import jobs_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway.schemas import dataset, inference, jobs, training

Link: TypeAlias = Callable[[str], str]
"""Makes the URL of an object from its key: `file_url`, or one that signs it."""

MEBIBYTE = 1024 * 1024

DATASET_AUDIO = "/training/dataset/audio"
"""Where the audio of datasets is served, by `path`."""

_JOB_STATES: dict[jobs_pb2.JobState.ValueType, jobs.JobState] = {
    jobs_pb2.JOB_STATE_QUEUED: "queued",
    jobs_pb2.JOB_STATE_RUNNING: "running",
    jobs_pb2.JOB_STATE_SUCCEEDED: "succeeded",
    jobs_pb2.JOB_STATE_FAILED: "failed",
    jobs_pb2.JOB_STATE_STOPPED: "stopped",
}
JOB_STATE_NUMBERS = {name: number for number, name in _JOB_STATES.items()}

TrainingState = Literal["idle", "running", "completed", "failed", "stopped"]
_TRAINING_STATES: dict[int, TrainingState] = {
    trainer_pb2.TRAINING_STATE_IDLE: "idle",
    trainer_pb2.TRAINING_STATE_RUNNING: "running",
    trainer_pb2.TRAINING_STATE_COMPLETED: "completed",
    trainer_pb2.TRAINING_STATE_FAILED: "failed",
    trainer_pb2.TRAINING_STATE_STOPPED: "stopped",
}

_PREFERENCES: dict[str, inference_pb2.Preference.ValueType] = {
    "base": inference_pb2.PREFERENCE_BASE,
    "finetuned": inference_pb2.PREFERENCE_FINETUNED,
    "tie": inference_pb2.PREFERENCE_TIE,
}


# ── dataset ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def download_request(body: dataset.DownloadRequest) -> dataset_pb2.StartDownloadRequest:
    return dataset_pb2.StartDownloadRequest(urls=body.urls, folder=body.folder)


def download_started(reply: dataset_pb2.StartDownloadResponse) -> dataset.DownloadStarted:
    return dataset.DownloadStarted(videos=reply.video_count, output_folder=reply.output_folder, job_id=reply.job_id)


def segment_request(body: dataset.SegmentRequest) -> dataset_pb2.StartSegmentationRequest:
    return dataset_pb2.StartSegmentationRequest(
        folder=body.folder,
        min_duration_seconds=body.min_duration,
        max_duration_seconds=body.max_duration,
        vad_threshold_db=body.vad_threshold,
    )


def segment_started(reply: dataset_pb2.StartSegmentationResponse) -> dataset.SegmentStarted:
    return dataset.SegmentStarted(input_folder=reply.input_folder, output_folder=reply.output_folder, job_id=reply.job_id)


def transcribe_request(body: dataset.TranscribeRequest) -> dataset_pb2.StartTranscriptionRequest:
    return dataset_pb2.StartTranscriptionRequest(
        folder=body.folder, language=body.language, model=body.model or "", force=body.force
    )


def transcribe_started(reply: dataset_pb2.StartTranscriptionResponse) -> dataset.TranscribeStarted:
    return dataset.TranscribeStarted(folder=reply.folder, job_id=reply.job_id)


def uploaded_file(name: str, reply: dataset_pb2.UploadRecordingResponse) -> dataset.UploadedFile:
    return dataset.UploadedFile(
        name=name,
        status="existed" if reply.existed else "stored",
        source=reply.source,
        path=reply.key,
        duration=reply.duration_seconds,
        size=reply.size_bytes,
    )


def import_started(folder: str, reply: dataset_pb2.UploadArchiveResponse) -> dataset.ImportStarted:
    return dataset.ImportStarted(folder=folder, job_id=reply.job_id)


def dataset_stats(reply: dataset_pb2.GetDatasetStatsResponse) -> dataset.DatasetStats:
    return dataset.DatasetStats(**_figures(reply))


def dataset_files(reply: dataset_pb2.ListDatasetFilesResponse) -> dataset.DatasetFiles:
    files = [dataset.DatasetFile(name=file.name, size=file.size_bytes, path=file.path) for file in reply.files]
    return dataset.DatasetFiles(files=files, total=reply.total_count)


def datasets(reply: dataset_pb2.ListDatasetsResponse) -> dataset.Datasets:
    return dataset.Datasets(datasets=[dataset.Dataset(folder=one.folder, **_figures(one.stats)) for one in reply.datasets])


def _figures(stats: dataset_pb2.GetDatasetStatsResponse) -> dict[str, Any]:
    return {
        "files": stats.file_count,
        "total_hours": stats.total_hours,
        "transcribed_percent": stats.transcribed_percent,
        "sources": stats.source_count,
        "excluded": stats.excluded_count,
        "flagged": stats.flagged_count,
    }


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def training_request(body: training.TrainingRequest) -> trainer_pb2.StartTrainingRequest:
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


def training_started(reply: trainer_pb2.StartTrainingResponse) -> training.TrainingStarted:
    return training.TrainingStarted(model_name=reply.model_name, output_folder=reply.output_folder, job_id=reply.job_id)


def training_stopped(reply: trainer_pb2.StopTrainingResponse) -> training.TrainingStopped:
    del reply  # the documented answer names no job
    return training.TrainingStopped()


def training_status(reply: trainer_pb2.GetTrainingStatusResponse) -> training.TrainingStatus:
    return training.TrainingStatus(
        state=_TRAINING_STATES[reply.state],
        epoch=reply.epoch,
        total_epochs=reply.total_epochs,
        loss=reply.loss if reply.HasField("loss") else None,
        progress=reply.progress_percent,
        logs="\n".join(reply.log_lines),
    )


def training_logs(reply: trainer_pb2.GetTrainingLogsResponse) -> training.TrainingLogs:
    return training.TrainingLogs(logs="\n".join(reply.log_lines))


def training_metrics(reply: trainer_pb2.GetTrainingMetricsResponse) -> training.TrainingMetrics:
    series = {
        one.name: training.Series(
            steps=[point.step for point in one.points],
            values=[point.value for point in one.points],
            times=[_seconds(point.create_time) for point in one.points],
        )
        for one in reply.series
    }
    return training.TrainingMetrics(model_name=reply.model_name, series=series)


def checkpoint(message: trainer_pb2.Checkpoint) -> training.Checkpoint:
    return training.Checkpoint(
        name=message.name,
        path=message.path,
        epoch=message.epoch,
        date=message.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        size_mb=round(message.size_bytes / MEBIBYTE, 2),
        model_name=message.model_name,
        loss=_given(message, "loss"),
        eval_loss=_given(message, "eval_loss"),
        similarity=_given(message, "similarity"),
        mfcc_score=_given(message, "mfcc_score"),
        current=message.current,
        best=message.best,
    )


def checkpoint_deleted(reply: trainer_pb2.DeleteCheckpointResponse) -> training.CheckpointDeleted:
    return training.CheckpointDeleted(checkpoint=reply.checkpoint)


def checkpoint_promoted(reply: trainer_pb2.PromoteCheckpointResponse) -> training.CheckpointPromoted:
    return training.CheckpointPromoted(model_name=reply.model_name, checkpoint=reply.checkpoint)


def estimate(reply: trainer_pb2.EstimateTrainingResponse) -> training.Estimate:
    return training.Estimate(
        steps=reply.step_count,
        clips=reply.clip_count,
        hours=reply.hours,
        disk_bytes=_given(reply, "disk_bytes"),
        seconds=_given(reply, "duration_seconds"),
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
        last_loss=_given(message, "last_loss"),
        last_eval_loss=_given(message, "last_eval_loss"),
        seconds_per_step=_given(message, "seconds_per_step"),
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
        last_loss=_given(message, "last_loss"),
        last_eval_loss=_given(message, "last_eval_loss"),
        state=_TRAINING_STATES[message.state],
        updated_at=moment(message.update_time),
        sample=utterance(message.sample, link) if message.HasField("sample") else None,
    )


# ── inference ────────────────────────────────────────────────────────────────────────────────────────────────────────


def checkpoint_loaded(reply: inference_pb2.LoadCheckpointResponse) -> training.CheckpointLoaded:
    return training.CheckpointLoaded(checkpoint=reply.checkpoint)


def synthesis_request(body: inference.SynthesisRequest) -> inference_pb2.SynthesizeRequest:
    return inference_pb2.SynthesizeRequest(parameters=_parameters(body))


def stream_request(body: inference.StreamRequest) -> inference_pb2.SynthesizeStreamRequest:
    # bare samples as the model's service has them, 22,050 Hz; AUDIO_FORMAT_PCM is OpenAI's, 24,000 Hz
    audio_format = inference_pb2.AUDIO_FORMAT_WAV if body.format == "wav" else inference_pb2.AUDIO_FORMAT_UNSPECIFIED
    return inference_pb2.SynthesizeStreamRequest(parameters=_parameters(body), format=audio_format)


def _parameters(body: inference.SynthesisRequest) -> inference_pb2.SpeechParameters:
    return inference_pb2.SpeechParameters(
        checkpoint=body.checkpoint,
        text=body.text,
        temperature=body.temperature,
        speed=body.speed,
        language=body.language or "",
        speaker=body.speaker or "",
        seed=body.seed,
    )


def synthesized(body: inference.SynthesisRequest, reply: inference_pb2.SynthesizeResponse, link: Link) -> inference.Synthesized:
    return inference.Synthesized(
        audio_url=link(reply.audio_key),
        text=body.text,
        duration=reply.duration_seconds,
        real_time_factor=reply.real_time_factor,
    )


def comparison_request(body: inference.ComparisonRequest) -> inference_pb2.CompareCheckpointRequest:
    return inference_pb2.CompareCheckpointRequest(
        checkpoint=body.checkpoint, text=body.text, language=body.language or "", seed=body.seed, against=body.against
    )


def comparison(reply: inference_pb2.CompareCheckpointResponse, link: Link) -> inference.Comparison:
    return inference.Comparison(
        base_audio=link(reply.base_audio_key),
        finetuned_audio=link(reply.finetuned_audio_key),
        similarity=reply.similarity,
        mfcc_score=reply.mfcc_score,
        base_similarity=reply.base_similarity,
        base_mfcc_score=reply.base_mfcc_score,
        comparison_id=reply.comparison_id,
    )


def utterance(message: inference_pb2.Utterance, link: Link) -> inference.Utterance:
    return inference.Utterance(
        id=message.utterance_id,
        path=message.audio_key,
        audio_url=link(message.audio_key),
        text=message.text,
        checkpoint=message.checkpoint,
        temperature=message.temperature,
        speed=message.speed,
        language=message.language,
        speaker=message.speaker or None,
        seed=message.seed,
        duration_s=message.duration_seconds,
        real_time_factor=message.real_time_factor,
        created_at=moment(message.create_time),
    )


def history(reply: inference_pb2.ListUtterancesResponse, link: Link) -> inference.History:
    return inference.History(utterances=[utterance(one, link) for one in reply.utterances])


def utterance_deleted(reply: inference_pb2.DeleteUtteranceResponse) -> inference.UtteranceDeleted:
    return inference.UtteranceDeleted(id=reply.utterance_id)


def vote(body: inference.Vote) -> inference_pb2.CastVoteRequest:
    return inference_pb2.CastVoteRequest(
        comparison_id=body.comparison_id, preferred=_PREFERENCES[body.preferred], blind=body.blind
    )


def votes(tally: inference_pb2.VoteTally) -> inference.Votes:
    return inference.Votes(
        checkpoint=tally.checkpoint,
        against=tally.against,
        finetuned=tally.finetuned_count,
        base=tally.base_count,
        ties=tally.tie_count,
        blind=tally.blind_count,
        preference=_given(tally, "preference"),
        low=tally.low,
        high=tally.high,
    )


def file_url(key: str) -> str:
    """Returns where an object is served; keys are made of characters that a URL takes as they are."""
    return f"{DATASET_AUDIO}?path={key}" if key.startswith("datasets/") else f"/files/{key}"


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def job(message: jobs_pb2.Job) -> jobs.Job:
    return jobs.Job(
        id=message.id,
        kind=message.kind,
        subject=message.subject,
        state=_JOB_STATES[message.state],
        # rounding must not make 100 of what has not ended
        progress=100.0 if message.progress >= 1 else min(round(100 * message.progress, 1), 99.9),
        message=message.message,
        remaining_seconds=message.remaining_seconds if message.HasField("remaining_seconds") else None,
        attempts=message.attempt_count,
        stop_requested=message.stop_requested,
        error=message.error or None,
        error_reason=message.error_reason or None,
        parameters=plain(message.parameters),
        result=plain(message.result) if message.HasField("result") else None,
        created_at=moment(message.create_time),
        started_at=moment(message.start_time) if message.HasField("start_time") else None,
        ended_at=moment(message.end_time) if message.HasField("end_time") else None,
    )


def job_list(reply: jobs_pb2.ListJobsResponse) -> jobs.Jobs:
    return jobs.Jobs(jobs=[job(one) for one in reply.jobs], total=reply.total_count)


def job_log(job_id: str, after: int, reply: jobs_pb2.GetJobLogResponse) -> jobs.JobLog:
    last = reply.lines[-1].sequence if reply.lines else after
    return jobs.JobLog(job_id=job_id, logs="\n".join(line.text for line in reply.lines), last_sequence=last)


def plain(struct: Struct) -> dict[str, Any]:
    """Returns a struct as JSON has it; whole numbers, which it holds as doubles, become integers again."""
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


def _given(message: Message, field: str) -> Any:
    """The value of an optional field, or None where there is none."""
    return getattr(message, field) if message.HasField(field) else None


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
