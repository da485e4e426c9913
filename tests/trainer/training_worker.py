"""A worker for tests: trains as the trainer's own does, on clips and with options that the job's parameters spell out."""

from __future__ import annotations

from typing import Any

from services.runtime.jobs import JobContext
from services.runtime.jobs.worker import work
from services.trainer.clips import Clip
from services.trainer.launch import Plan, launch
from services.trainer.options import TrainOptions
from services.trainer.settings import TrainerSettings

SETTINGS = TrainerSettings()


def train(job: JobContext) -> dict[str, Any]:
    parameters = job.parameters
    clips = tuple(Clip(**clip) for clip in parameters["clips"])
    plan = Plan(clips, TrainOptions(**parameters["options"]), parameters["model_name"], parameters["resume"])
    return launch(job, SETTINGS, plan)


if __name__ == "__main__":
    work({"trainer.train": train}, SETTINGS)
