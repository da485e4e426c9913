"""`python -m services.dataset`: the dataset service."""

from __future__ import annotations

from timbre.dataset.v1.dataset_pb2_grpc import add_DatasetServiceServicer_to_server
from timbre.jobs.v1.jobs_pb2_grpc import add_JobsServiceServicer_to_server

from services.dataset.servicer import KINDS, DatasetServicer
from services.dataset.settings import DatasetSettings
from services.runtime import telemetry, traces
from services.runtime.database import open_database
from services.runtime.jobs import JobQueue
from services.runtime.jobs.servicer import JobsServicer
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.logs import set_up_logging
from services.runtime.server import run, serve
from services.runtime.store import open_store
from services.scopes import JOB_SCOPES, RPC_SCOPES


async def main(settings: DatasetSettings) -> None:
    """Serves until it is told to stop."""
    engine = open_database(settings.database_url)
    queue = JobQueue(engine)
    if telemetry.measuring():
        from services.runtime.jobs.figures import JobFigures

        telemetry.collect(JobFigures(engine, KINDS))
    supervisor = Supervisor(queue, "services.dataset.work", KINDS, settings.dataset_jobs, settings)
    store = open_store(settings.storage_url, settings.s3_credentials)
    servicer = DatasetServicer(settings, store, queue, supervisor)
    jobs = JobsServicer(queue, JOB_SCOPES)
    services = {
        "timbre.dataset.v1.DatasetService": lambda server: add_DatasetServiceServicer_to_server(servicer, server),
        "timbre.jobs.v1.JobsService": lambda server: add_JobsServiceServicer_to_server(jobs, server),
    }
    await serve(settings.dataset_listen, services, settings, scopes=RPC_SCOPES, background=[supervisor.run(), servicer.run()])


if __name__ == "__main__":
    settings = DatasetSettings()
    set_up_logging(settings)
    telemetry.start(settings.metrics_listen)
    traces.start(settings.traces_endpoint, "dataset")
    run(main(settings))
