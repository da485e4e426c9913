"""`python -m services.trainer`: the trainer service."""

from __future__ import annotations

from timbre.jobs.v1.jobs_pb2_grpc import add_JobsServiceServicer_to_server
from timbre.trainer.v1.trainer_pb2_grpc import add_TrainerServiceServicer_to_server

from services.runtime import telemetry, traces
from services.runtime.database import open_database
from services.runtime.jobs import JobQueue
from services.runtime.jobs.servicer import JobsServicer
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.logs import set_up_logging
from services.runtime.server import run, serve
from services.runtime.store import open_store
from services.scopes import JOB_SCOPES, RPC_SCOPES
from services.trainer.runs import TRAIN
from services.trainer.servicer import KINDS, TrainerServicer
from services.trainer.settings import TrainerSettings


async def main(settings: TrainerSettings) -> None:
    """Serves until it is told to stop."""
    engine = open_database(settings.database_url)
    queue = JobQueue(engine)
    if telemetry.measuring():
        from services.runtime.jobs.figures import JobFigures

        telemetry.collect(JobFigures(engine, KINDS, TRAIN))
    supervisor = Supervisor(queue, "services.trainer.work", KINDS, 1, settings)
    store = open_store(settings.storage_url, settings.s3_credentials)
    servicer = TrainerServicer(settings, store, queue, supervisor)
    jobs = JobsServicer(queue, JOB_SCOPES)
    services = {
        "timbre.trainer.v1.TrainerService": lambda server: add_TrainerServiceServicer_to_server(servicer, server),
        "timbre.jobs.v1.JobsService": lambda server: add_JobsServiceServicer_to_server(jobs, server),
    }
    await serve(settings.trainer_listen, services, settings, scopes=RPC_SCOPES, background=[supervisor.run()])


if __name__ == "__main__":
    settings = TrainerSettings()
    set_up_logging(settings)
    telemetry.start(settings.metrics_listen)
    traces.start(settings.traces_endpoint, "trainer")
    run(main(settings))
