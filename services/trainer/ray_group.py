"""One training over the nodes of a Ray cluster, through Ray Train.

    the job's driver ── TorchTrainer ──▶ a worker each on a node with room: connected, they run `train`
          ▲   (waits for room)             the first leads: it reports and saves, on the driver's lease
          └───────── the desk ─────────────┘   how it ended, and whether the driver has to go

A worker that dies ends the group, and the group's end that of the driver: like any worker that dies, the job is then taken up
again by its service, and continues from the state in the store. Ray Train itself tries nothing twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from services.runtime.errors import FailedPrecondition, TimbreError
from services.runtime.jobs import JobContext
from services.runtime.jobs.context import JobReleased, JobStopped
from services.runtime.logs import set_up_logging
from services.runtime.processes import PoolBroken
from services.runtime.ray_pool import ClusterUnavailable, in_cluster
from services.runtime.settings import RayResources
from services.trainer.launch import Plan, join, train
from services.trainer.local_group import PATIENCE
from services.trainer.settings import TrainerSettings

logger = logging.getLogger(__name__)

RESOURCES = "trainer.worker"
"""Key of what each worker reserves, in `TIMBRE_RAY_RESOURCES`."""

_LOOK_SECONDS = 0.5

# How long a worker has to write that it ended before its silence counts, and the others to end once the first has.
_LAST_WORD_SECONDS = 10.0


class TrainingFailed(FailedPrecondition):
    """The training ended with an error that its log explains."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended: with a result, an error for people, or because it was asked to."""

    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    stopped: bool = False
    released: bool = False


class Desk:
    """Where the driver and the leading worker leave word for each other: an actor on the driver's node."""

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._released = False

    def release(self) -> None:
        """The driver's process has to go."""
        self._released = True

    def is_released(self) -> bool:
        """Whether the driver's process has to go."""
        return self._released

    def end(self, outcome: Outcome) -> None:
        """The training has ended."""
        self._outcome = outcome

    def outcome(self) -> Outcome | None:
        """How the training ended; None while it goes on."""
        return self._outcome


def train_on_ray(job: JobContext, settings: TrainerSettings, plan: Plan, processes: int) -> dict[str, Any]:
    """Trains on the cluster that this process is a job of.

    Raises:
        ClusterUnavailable: There was no room for the workers for too long.
        PoolBroken: A worker died; the job can be taken up again.
        TrainingFailed: The training says what is wrong.
    """
    wanted = settings.ray_resources.get(RESOURCES, RayResources())
    # It would tell workers that ask of a node that is to go; ours find that out when it goes.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    with in_cluster(), tempfile.TemporaryDirectory(prefix="timbre-train-", ignore_cleanup_errors=True) as folder:
        _wait_for_room(job, settings, wanted, processes)
        desk = _open_desk()
        word = {"desk": desk, "job_id": job.id, "lease": job.lease, "plan": plan}
        fit = _Fit(partial(_fit, job, word, wanted, processes, folder))
        return _follow(job, desk, fit)


def _follow(job: JobContext, desk: Any, fit: _Fit) -> dict[str, Any]:
    """Waits for the end of a training, and hands on that this process has to go."""
    import ray

    told = False
    while (outcome := ray.get(desk.outcome.remote())) is None and fit.thread.is_alive():
        if job.released and not told:
            told = True
            ray.get(desk.release.remote())
        fit.thread.join(_LOOK_SECONDS)
    outcome = outcome or ray.get(desk.outcome.remote())
    if outcome is None:
        logger.error("job %s: the training workers ended: %s", job.id, fit.error)
        raise PoolBroken([job.id]) from fit.error
    fit.thread.join(_LAST_WORD_SECONDS)
    if outcome.stopped:
        raise JobStopped(job.id)
    if outcome.released:
        raise JobReleased(job.id)
    if outcome.error:
        raise TrainingFailed(outcome.error)
    return dict(outcome.result)


class _Fit:
    """`TorchTrainer.fit` in a thread, and the error it ended with."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(call,), name="ray-train", daemon=True)
        self.thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:
            self.error = error


def _fit(job: JobContext, word: dict[str, Any], wanted: RayResources, processes: int, folder: str) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        _work,
        train_loop_config=word,
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=wanted.gpus > 0, resources_per_worker=_bundle(wanted)),
        torch_config=TorchConfig(timeout_s=int(PATIENCE.total_seconds())),
        run_config=RunConfig(
            name=f"{job.id}-{job.attempt}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    trainer.fit()


def _work(word: dict[str, Any]) -> None:
    """What each worker does, on its node."""
    from ray.train import get_context

    settings = TrainerSettings()
    set_up_logging(settings)
    job = join(settings, word["job_id"], word["lease"])
    context = get_context()
    with contextlib.suppress(JobStopped):
        try:
            if context.get_world_rank() == 0:
                _lead(job, settings, word)
            else:
                train(job, settings, word["plan"])
        except JobReleased:
            return
    if context.get_local_rank() == 0:
        shutil.rmtree(job.scratch, ignore_errors=True)


def _lead(job: JobContext, settings: TrainerSettings, word: dict[str, Any]) -> None:
    """Trains as the worker that reports: to the database as any worker does, and how it ended to the desk.

    Raises:
        JobReleased: The driver's process shuts down.
    """
    import ray

    desk = word["desk"]
    ended = threading.Event()

    def listen() -> None:
        while not ended.wait(settings.heartbeat_seconds):
            job.released |= ray.get(desk.is_released.remote())

    threading.Thread(target=listen, name="desk", daemon=True).start()
    end_reporting = job.keep_reporting()
    try:
        outcome = _outcome_of(job, settings, word["plan"])
    finally:
        ended.set()
        end_reporting()
    job.flush()
    ray.get(desk.end.remote(outcome))
    if outcome.released:
        raise JobReleased


def _outcome_of(job: JobContext, settings: TrainerSettings, plan: Plan) -> Outcome:
    try:
        return Outcome(result=train(job, settings, plan))
    except JobStopped:
        return Outcome(stopped=True)
    except JobReleased:
        return Outcome(released=True)
    except TimbreError as error:
        return Outcome(error=error.message)


def _open_desk() -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()


def _wait_for_room(job: JobContext, settings: TrainerSettings, wanted: RayResources, processes: int) -> None:
    """Waits until the cluster has room for all workers at once; says so in the log while it has none.

    Raises:
        ClusterUnavailable: It had none for `runner_wait_seconds`.
        JobStopped: Somebody asked the job to stop.
        JobReleased: This process shuts down.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    room = placement_group([_bundle(wanted)] * processes)
    began, said = time.monotonic(), False
    try:
        while not room.wait(_LOOK_SECONDS):
            job.check_stop()
            waited, limit = time.monotonic() - began, settings.runner_wait_seconds
            if limit and waited > limit:
                raise ClusterUnavailable(f"{_no_room(wanted, processes)}: given up after {limit:g} seconds.")
            if not said and waited > settings.heartbeat_timeout_seconds / 3:
                said = True
                job.log(f"{_no_room(wanted, processes)}; the job waits.")
                job.progress(0.0, _no_room(wanted, processes))
    finally:
        remove_placement_group(room)  # Ray Train reserves its own


def _no_room(wanted: RayResources, processes: int) -> str:
    """Says what the cluster lacks, and how much it has in all of what it would never be enough of."""
    import ray

    bundle, everything = _bundle(wanted), ray.cluster_resources()
    totals = {name: everything.get(name, 0.0) for name in bundle}
    short = [f"{total:g} {name}" for name, total in totals.items() if total < processes * bundle[name]]
    each = ", ".join(f"{amount:g} {name}" for name, amount in bundle.items())
    lacks = f", its nodes have {' and '.join(short)} in all" if short else ""
    return f"The Ray cluster has no room for {processes} training workers with {each} each{lacks}"


def _bundle(wanted: RayResources) -> dict[str, float]:
    amounts = {"CPU": wanted.cpus, "GPU": wanted.gpus, "memory": float(wanted.memory_bytes), **wanted.custom}
    return {name: amount for name, amount in amounts.items() if amount}
