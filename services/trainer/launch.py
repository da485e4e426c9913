"""How many processes train, and where: this one alone, several of this machine, or the nodes of a Ray cluster.

`train` is what each of them runs. The one that leads holds the job: it reports, saves, and ends the others when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from services.runtime.database import connect
from services.runtime.jobs import JobContext, JobQueue
from services.runtime.jobs.queue import LeaseLost
from services.runtime.store import open_store
from services.trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from services.trainer.clips import Clip
    from services.trainer.options import TrainOptions


@dataclass(frozen=True)
class Plan:
    """A training, as every process of it must know it.

    Attributes:
        clips: The voice's clips, in the order of their names.
        options: How to train.
        model_name: The model to make.
        resume: Whether to continue the model's last run.
    """

    clips: tuple[Clip, ...]
    options: TrainOptions
    model_name: str
    resume: bool = False


def launch(job: JobContext, settings: TrainerSettings, plan: Plan) -> dict[str, Any]:
    """Trains, in as many processes as the settings ask for; returns the result of the job."""
    processes = count_processes(settings, plan.options)
    if processes == 1:
        return train(job, settings, plan)
    if settings.runner == "ray":
        from services.trainer.ray_group import train_on_ray

        return train_on_ray(job, settings, plan, processes)
    from services.trainer.local_group import train_in_processes

    return train_in_processes(job, settings, plan, processes)


def count_processes(settings: TrainerSettings, options: TrainOptions) -> int:
    """Returns how many processes train: `training_workers`, or with `use_deepspeed` one for each GPU of this machine.

    Never more than a batch has clips.
    """
    wanted = settings.training_workers
    if wanted == 1 and options.use_deepspeed and settings.runner == "local":
        import torch

        wanted = max(1, torch.cuda.device_count())
    return min(wanted, options.batch_size)


def train(job: JobContext, settings: TrainerSettings, plan: Plan) -> dict[str, Any]:
    """Trains in this process: alone, or as the one of several that its environment says."""
    # This imports torch, and may make or fetch the base model.
    from services.trainer.finetune import finetune
    from services.xtts.base import resolve_base

    base = resolve_base(
        settings.base_model,
        settings.models_dir,
        accept_license=settings.accept_xtts_license,
        on_progress=partial(_report_base, job),
    )
    return finetune(
        job,
        open_store(settings.storage_url, settings.s3_credentials, patient=True),
        clips=plan.clips,
        options=plan.options,
        base=base,
        base_name=settings.base_model,
        model_name=plan.model_name,
        resume=plan.resume,
        on_cluster=settings.runner == "ray",
    )


def join(settings: TrainerSettings, job_id: str, lease: str) -> JobContext:
    """Returns the context of a job for a further process of its worker; unless told to, it reports nothing.

    Raises:
        LeaseLost: The job was given to another worker meanwhile.
    """
    queue = JobQueue(connect(settings.database_url))
    job = queue.get(job_id)
    if job.lease != lease:
        raise LeaseLost(job_id)
    scratch = settings.data_dir / "scratch" / job_id
    scratch.mkdir(parents=True, exist_ok=True)
    return JobContext(queue, job, scratch, heartbeat_seconds=settings.heartbeat_seconds)


def _report_base(job: JobContext, fraction: float, message: str) -> None:
    job.check_stop()
    job.progress(0.0, f"base model: {message} ({fraction:.0%})")
