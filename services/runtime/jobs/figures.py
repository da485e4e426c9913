"""Jobs as metrics: how many, how long, how the training goes; read from the database when somebody asks.

Workers are processes that come and go, so they serve no metrics: what they report is in the database already, and stays
right when a worker, or the service itself, dies. Every replica of a service therefore tells the same: take the maximum over
them, not the sum. Loaded only when anything is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.runtime.database import reading
from services.runtime.jobs.model import ENDED, JOB_SERIES, JOBS, JobState, SeriesPoint
from services.runtime.jobs.queue import JobQueue

# Upper bounds of a job's duration, in seconds.
_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
# Several scrapers, or an impatient one, cost the database no more than one.
_KEPT_SECONDS = 2.0
# What a training on a GPU records of it, to what that is.
_MEMORY = {"gpu_memory_bytes": "GPU memory in use", "gpu_memory_peak_bytes": "Most GPU memory that was in use"}
_STARTED = (JobState.RUNNING, *ENDED)


class JobFigures(Collector):
    """Collects the figures of the jobs of some kinds.

    Args:
        engine: The database of the jobs.
        kinds: What the service that asks works on.
        training: A kind whose newest job records `loss`, and its GPU memory, by step; empty when there is none.
    """

    def __init__(self, engine: sa.Engine, kinds: Sequence[str], training: str = "") -> None:
        self._engine, self._kinds, self._training = engine, tuple(kinds), training
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._read_at = -_KEPT_SECONDS

    def describe(self) -> list[Metric]:
        """Keeps the registry from asking the database at the start."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the figures, at most two seconds old."""
        with self._lock:
            if time.monotonic() - self._read_at >= _KEPT_SECONDS:
                self._kept = [*self._jobs(), *(self._progress() if self._training else ())]
                self._read_at = time.monotonic()
            yield from self._kept

    def _jobs(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("timbre_jobs", "Jobs in the database.", labels=["kind", "state"])
        seconds = HistogramMetricFamily(
            "timbre_job_seconds", "Time from a job's first start to its end.", labels=["kind", "state"]
        )
        taken = JOBS.c.ended_at - JOBS.c.started_at
        within = [sa.func.count(sa.case((taken <= bound, 1))) for bound in _BUCKETS]
        query = sa.select(
            JOBS.c.kind, JOBS.c.state, sa.func.count(), sa.func.count(taken), sa.func.coalesce(sa.func.sum(taken), 0.0), *within
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.where(JOBS.c.kind.in_(self._kinds)).group_by(JOBS.c.kind, JOBS.c.state)).all()
        found = {(kind, state): figures for kind, state, *figures in rows}
        for kind in self._kinds:
            for state in JobState:
                count, ended, total, *buckets = found.get((kind, state.value), [0, 0, 0.0, *(0 for _ in _BUCKETS)])
                jobs.add_metric([kind, state.value], count)
                if state in ENDED:  # from zero on: what a counter began with is no increase to Prometheus
                    bounds = [(str(float(bound)), number) for bound, number in zip(_BUCKETS, buckets, strict=True)]
                    seconds.add_metric([kind, state.value], [*bounds, ("+Inf", ended)], total)
        yield jobs
        yield seconds

    def _progress(self) -> Iterator[Metric]:
        """How the newest training stands: the counters begin again with each."""
        job = next(iter(JobQueue(self._engine).find(kind=self._training, states=_STARTED, limit=1)), None)
        if job is None or job.started_at is None:
            return
        last = self._last(job.id, "loss")
        worked = (job.ended_at or job.heartbeat_at or job.started_at) - job.started_at
        yield CounterMetricFamily("timbre_training_seconds", "Time since the newest training first started.", value=worked)
        if last is not None:
            yield GaugeMetricFamily("timbre_training_loss", "Loss of the newest training.", value=last.value)
            yield CounterMetricFamily("timbre_training_steps", "Steps of the newest training.", value=last.step)
        if job.state is JobState.RUNNING:  # one that has ended holds none
            for name, what in _MEMORY.items():
                if (memory := self._last(job.id, name)) is not None:
                    yield GaugeMetricFamily(f"timbre_training_{name}", f"{what} by the newest training.", value=memory.value)

    def _last(self, job_id: str, name: str) -> SeriesPoint | None:
        """Returns the newest point of a series."""
        columns = (JOB_SERIES.c.name, JOB_SERIES.c.step, JOB_SERIES.c.value, JOB_SERIES.c.created_at)
        points = sa.select(*columns).where(JOB_SERIES.c.job_id == job_id, JOB_SERIES.c.name == name)
        with reading(self._engine) as connection:
            row = connection.execute(points.order_by(JOB_SERIES.c.step.desc()).limit(1)).first()
        return None if row is None else SeriesPoint(*row)
