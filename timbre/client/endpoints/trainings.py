"""Requests about trainings and the checkpoints and voices they make."""

from __future__ import annotations

from gateway.schemas import training
from timbre.client.request import Request, endpoint, job_endpoint

_LOAD_SECONDS = 330.0
_STOP_SECONDS = 150.0


class TrainingEndpoints:
    """Trainings. A checkpoint is named by its path in the object store, as `checkpoints` lists it."""

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
        body = _training_body(
            model_name, dataset_folder, epochs, batch_size, learning_rate, use_deepspeed, resume, overwrite, language
        )
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
    def metrics(self, model_name: str | None = None, *, job_id: str | None = None) -> Request[training.TrainingMetrics]:
        """Returns what the trainings of a model recorded, or one of them by its job; by default of the one trained last."""
        params = {"model_name": model_name, "job_id": job_id}
        return Request("GET", "/training/metrics", training.TrainingMetrics, params)

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

    @endpoint
    def delete_checkpoint(self, checkpoint: str) -> Request[training.CheckpointDeleted]:
        """Deletes a checkpoint."""
        return Request("DELETE", "/training/checkpoints", training.CheckpointDeleted, {"checkpoint_path": checkpoint})

    @endpoint
    def promote_checkpoint(self, checkpoint: str) -> Request[training.CheckpointPromoted]:
        """Makes a checkpoint its voice's current one: what speaks when only the voice is named."""
        params = {"checkpoint_path": checkpoint}
        return Request("POST", "/training/checkpoints/promote", training.CheckpointPromoted, params)

    @endpoint
    def voices(self) -> Request[training.Voices]:
        """Lists the voices there are, the one that changed last first."""
        return Request("GET", "/training/voices", training.Voices)

    @endpoint
    def runs(self, model_name: str | None = None, *, limit: int | None = None) -> Request[training.Runs]:
        """Lists trainings, newest first."""
        return Request("GET", "/training/runs", training.Runs, {"model_name": model_name, "limit": limit})

    @endpoint
    def estimate(
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
    ) -> Request[training.Estimate]:
        """Says what a training would take in time and disk, from what earlier ones took."""
        body = _training_body(
            model_name, dataset_folder, epochs, batch_size, learning_rate, use_deepspeed, resume, overwrite, language
        )
        return Request("POST", "/training/estimate", training.Estimate, json=body)


def _training_body(
    model_name: str,
    dataset_folder: str,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    use_deepspeed: bool,
    resume: bool,
    overwrite: bool,
    language: str | None,
) -> dict[str, object]:
    return dict(locals())
