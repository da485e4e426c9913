"""`python -m services.trainer.work JOB LEASE`: the worker process of the trainer service, for one training."""

from __future__ import annotations

from functools import partial
from typing import Any

from services.dataset.layout import segment_key
from services.dataset.manifest import iterate_segments
from services.runtime.jobs import JobContext
from services.runtime.jobs.worker import work
from services.runtime.store import ObjectStore, open_store
from services.trainer.admission import DatasetNotTranscribed
from services.trainer.clips import Clip
from services.trainer.launch import Plan, launch
from services.trainer.options import TrainOptions
from services.trainer.settings import TrainerSettings


def train(job: JobContext, settings: TrainerSettings, store: ObjectStore) -> dict[str, Any]:
    """Fine-tunes a model on the transcribed segments of a dataset.

    Args:
        job: Parameters as `services.trainer.requests.training_parameters` makes them.
        settings: Which base model, and where models are kept.
        store: The object store.

    Raises:
        DatasetNotTranscribed: No segment has a transcript and is not excluded.
    """
    parameters = job.parameters
    folder = parameters["dataset_folder"]
    with job.exclusive(folder):
        pass  # what is being deleted since before this training was asked for is gone now; see services.dataset.remove
    clips = read_clips(store, folder, parameters["language"])
    if not clips:
        raise DatasetNotTranscribed(f"{folder} has no transcribed segments to train on: transcribe it first.")
    job.log(f"{len(clips)} clips, {sum(clip.seconds for clip in clips) / 60:.1f} minutes, from {folder}.")
    options = TrainOptions(
        epochs=parameters["epochs"],
        batch_size=parameters["batch_size"],
        learning_rate=parameters["learning_rate"],
        use_deepspeed=parameters["use_deepspeed"],
    )
    return launch(job, settings, Plan(tuple(clips), options, parameters["model_name"], parameters["resume"]))


def read_clips(store: ObjectStore, folder: str, language: str) -> list[Clip]:
    """Returns what a dataset has to train on: its transcribed segments, without those that a person excluded."""
    return [
        Clip(
            name=row.id,
            key=segment_key(folder, row.id),
            text=row.normalised or row.transcript or "",
            source=row.source,
            seconds=row.seconds,
            language=row.language or language,
            snr_db=row.snr_db,
        )
        for row in iterate_segments(store, folder)
        if row.transcribed and not row.excluded
    ]


def main() -> None:
    """Runs the job that the command line names."""
    settings = TrainerSettings()
    store = open_store(settings.storage_url, settings.s3_credentials, patient=True)
    work({"trainer.train": partial(train, settings=settings, store=store)}, settings)


if __name__ == "__main__":
    main()
