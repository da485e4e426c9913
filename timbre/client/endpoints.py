"""Every request that is answered with JSON, one method an endpoint; both clients have them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from gateway.schemas import dataset, inference, training
from gateway.schemas.jobs import Health, Job, JobLog, Jobs, JobState, Readiness
from timbre.client.request import Request, endpoint, job_endpoint

BASE = "base"
"""The base model, where a checkpoint is asked for."""

_SPEECH_SECONDS = 90.0  # the server gives up after 60 s
_COMPARISON_SECONDS = 210.0
_LOAD_SECONDS = 330.0
_STOP_SECONDS = 150.0


class Endpoints:
    """The HTTP API. Folders, checkpoints and speakers are names in the object store, as the API lists them."""

    # ── datasets ────────────────────────────────────────────────────────────────────────────────────────────────────

    @job_endpoint
    def download(self, folder: str, urls: Sequence[str]) -> Request[dataset.DownloadStarted]:
        """Downloads the audio of videos into a dataset."""
        body = {"folder": folder, "urls": list(urls)}
        return Request("POST", "/training/dataset/download", dataset.DownloadStarted, json=body)

    @job_endpoint
    def segment(
        self,
        folder: str,
        *,
        min_duration: float | None = None,
        max_duration: float | None = None,
        vad_threshold: float | None = None,
    ) -> Request[dataset.SegmentStarted]:
        """Cuts the recordings of a dataset into segments at pauses; durations in seconds, the threshold in dB."""
        body = {"folder": folder, "min_duration": min_duration, "max_duration": max_duration, "vad_threshold": vad_threshold}
        return Request("POST", "/training/dataset/segment", dataset.SegmentStarted, json=body)

    @job_endpoint
    def transcribe(
        self, folder: str, *, language: str | None = None, model: str | None = None, force: bool = False
    ) -> Request[dataset.TranscribeStarted]:
        """Transcribes the segments of a dataset with Whisper; with `force` those that have a transcript, too."""
        body = {"folder": folder, "language": language, "model": model, "force": force}
        return Request("POST", "/training/dataset/transcribe", dataset.TranscribeStarted, json=body)

    @endpoint
    def stats(self, folder: str) -> Request[dataset.DatasetStats]:
        """Returns figures of a dataset: zeros for one that does not exist."""
        return Request("GET", "/training/dataset/stats", dataset.DatasetStats, {"folder": folder})

    @endpoint
    def files(self, folder: str, *, limit: int | None = None, offset: int | None = None) -> Request[dataset.DatasetFiles]:
        """Lists the segments of a dataset as files."""
        params = {"folder": folder, "limit": limit, "offset": offset}
        return Request("GET", "/training/dataset/files", dataset.DatasetFiles, params)

    @endpoint
    def datasets(self) -> Request[dataset.Datasets]:
        """Lists the datasets there are, with their figures."""
        return Request("GET", "/training/datasets", dataset.Datasets)

    # ── training ────────────────────────────────────────────────────────────────────────────────────────────────────

    @job_endpoint
    def train(
        self,
        model_name: str,
        dataset_folder: str,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        use_deepspeed: bool = False,
        resume: bool = False,
        overwrite: bool = False,
        language: str | None = None,
    ) -> Request[training.TrainingStarted]:
        """Fine-tunes XTTS-v2 on a dataset."""
        body = {
            "model_name": model_name,
            "dataset_folder": dataset_folder,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "use_deepspeed": use_deepspeed,
            "resume": resume,
            "overwrite": overwrite,
            "language": language,
        }
        return Request("POST", "/training/start", training.TrainingStarted, json=body)

    @endpoint
    def stop_training(self) -> Request[training.TrainingStopped]:
        """Stops the training that runs; returns when it has saved and ended."""
        return Request("POST", "/training/stop", training.TrainingStopped, timeout_seconds=_STOP_SECONDS)

    @endpoint
    def training_status(self) -> Request[training.TrainingStatus]:
        """Returns how the present training stands, or the last one when none runs."""
        return Request("GET", "/training/status", training.TrainingStatus)

    @endpoint
    def training_logs(self) -> Request[training.TrainingLogs]:
        """Returns the whole log of the present or last training."""
        return Request("GET", "/training/logs", training.TrainingLogs)

    @endpoint
    def metrics(self, model_name: str | None = None) -> Request[training.TrainingMetrics]:
        """Returns what the trainings of a model recorded; by default of the one trained last."""
        return Request("GET", "/training/metrics", training.TrainingMetrics, {"model_name": model_name})

    @endpoint
    def checkpoints(self, model_name: str | None = None) -> Request[list[training.Checkpoint]]:
        """Lists the checkpoints there are, newest first."""
        return Request("GET", "/training/checkpoints", list[training.Checkpoint], {"model_name": model_name})

    @endpoint
    def load_checkpoint(self, checkpoint: str) -> Request[training.CheckpointLoaded]:
        """Loads a checkpoint, so that the next synthesis with it starts at once."""
        params = {"checkpoint_path": checkpoint}
        path = "/training/checkpoints/load"
        return Request("POST", path, training.CheckpointLoaded, params, timeout_seconds=_LOAD_SECONDS)

    # ── speech ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @endpoint
    def synthesize(
        self,
        text: str,
        checkpoint: str = BASE,
        *,
        temperature: float | None = None,
        speed: float | None = None,
        language: str | None = None,
        speaker: str | None = None,
        seed: int | None = None,
    ) -> Request[inference.Synthesized]:
        """Speaks a text; `fetch(answer.audio_url)` gets the audio."""
        body = speech_body(text, checkpoint, temperature, speed, language, speaker, seed)
        path = "/training/inference/synthesize"
        return Request("POST", path, inference.Synthesized, json=body, timeout_seconds=_SPEECH_SECONDS)

    @endpoint
    def ab_test(
        self, checkpoint: str, text: str, *, language: str | None = None, seed: int | None = None
    ) -> Request[inference.Comparison]:
        """Speaks a text with the base model and with a checkpoint, and scores both against recordings of the voice."""
        body = {"checkpoint": checkpoint, "text": text, "language": language, "seed": seed}
        path = "/training/inference/ab-test"
        return Request("POST", path, inference.Comparison, json=body, timeout_seconds=_COMPARISON_SECONDS)

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @endpoint
    def jobs(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        kind: str | None = None,
        subject: str | None = None,
        state: Sequence[JobState] | None = None,
    ) -> Request[Jobs]:
        """Lists jobs, newest first."""
        params = {"limit": limit, "offset": offset, "kind": kind, "subject": subject, "state": state}
        return Request("GET", "/training/jobs", Jobs, params)

    @endpoint
    def get_job(self, job_id: str) -> Request[Job]:
        """Returns a job as it stands."""
        return Request("GET", _job(job_id), Job)

    @endpoint
    def job_log(self, job_id: str, *, after: int | None = None, tail: int | None = None) -> Request[JobLog]:
        """Returns the log of a job: the lines after a sequence number, or so many of the last."""
        return Request("GET", _job(job_id) + "/log", JobLog, {"after": after, "tail": tail})

    @endpoint
    def cancel_job(self, job_id: str) -> Request[Job]:
        """Asks a job to stop; it saves what it has first."""
        return Request("POST", _job(job_id) + "/cancel", Job)

    # ── health ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @endpoint
    def healthy(self) -> Request[Health]:
        """Returns whether the gateway answers."""
        return Request("GET", "/healthz", Health)

    @endpoint
    def ready(self) -> Request[Readiness]:
        """Returns whether the gateway and every service behind it answer."""
        return Request("GET", "/readyz", Readiness)


def speech_body(
    text: str,
    checkpoint: str,
    temperature: float | None,
    speed: float | None,
    language: str | None,
    speaker: str | None,
    seed: int | None,
) -> dict[str, object]:
    """Returns the body of a request for speech."""
    return {
        "text": text,
        "checkpoint": checkpoint,
        "temperature": temperature,
        "speed": speed,
        "language": language,
        "speaker": speaker,
        "seed": seed,
    }


def _job(job_id: str) -> str:
    return f"/training/jobs/{quote(job_id, safe='')}"
