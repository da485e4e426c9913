"""`python -m services.inference`: the inference service."""

from __future__ import annotations

from timbre.inference.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server

from services.inference.checkpoint_files import CheckpointFiles
from services.inference.engine.interface import EngineLoader
from services.inference.loaded import Voices
from services.inference.model_thread import ModelThread
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings
from services.runtime import telemetry, traces
from services.runtime.logs import set_up_logging
from services.runtime.node_cache import NodeCache
from services.runtime.server import run, serve
from services.runtime.store import open_store
from services.scopes import RPC_SCOPES


def make_loader(settings: InferenceSettings) -> EngineLoader:
    """Gets the base model and returns what loads models; slow, and imports torch."""
    from services.xtts.base import resolve_base

    # First, so that a base that cannot be had is said at once: the import behind it takes 10 s.
    base = resolve_base(settings.base_model, settings.models_dir, accept_license=settings.accept_xtts_license)
    from services.inference.engine.coqui_engine import CoquiLoader

    return CoquiLoader(base, settings.device)


def make_servicer(settings: InferenceSettings) -> InferenceServicer:
    """Puts the parts of the service together; nothing is loaded yet."""
    store = open_store(settings.storage_url, settings.s3_credentials)
    files = CheckpointFiles(store, NodeCache(settings.models_dir / "checkpoints", settings.checkpoint_cache_bytes))
    voices = Voices(store, files, lambda: make_loader(settings), settings.loaded_models)
    return InferenceServicer(settings, store, files, voices, ModelThread(settings.inference_queue))


async def main(settings: InferenceSettings) -> None:
    """Serves until it is told to stop."""
    servicer = make_servicer(settings)
    name = "timbre.inference.v1.InferenceService"
    services = {name: lambda server: add_InferenceServiceServicer_to_server(servicer, server)}
    telemetry.gauge("timbre_synthesis_queue", "Requests that wait for the model.", lambda: servicer.thread.queued_count)
    warm_ups = {name: servicer.preload()} if settings.preload else {}
    try:
        await serve(settings.inference_listen, services, settings, scopes=RPC_SCOPES, warm_ups=warm_ups)
    finally:
        servicer.thread.close()


if __name__ == "__main__":
    settings = InferenceSettings()
    set_up_logging(settings)
    telemetry.start(settings.metrics_listen)
    traces.start(settings.traces_endpoint, "inference")
    run(main(settings))
