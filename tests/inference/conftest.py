from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from timbre.inference.v1 import inference_pb2_grpc

from services.inference.checkpoint_files import CheckpointFiles
from services.inference.loaded import Voices
from services.inference.model_thread import ModelThread
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.node_cache import NodeCache
from services.runtime.server import SERVER_OPTIONS
from services.runtime.store import ObjectStore, open_store
from timbre.demo.speech import Utterance, speak_all

if TYPE_CHECKING:
    from services.inference.engine.coqui_engine import CoquiEngine, CoquiLoader

Samples = npt.NDArray[np.float32]

RATE = 22_050
CHECKPOINT = "train/output/my_voice/checkpoints/checkpoint_epoch_10.pth"


@pytest.fixture(scope="session")
def speech() -> dict[str, Samples]:
    """Sentences that end in a vowel, a fricative and a stop, and the same text by other speakers."""
    text = {
        "vowel": Utterance("O sol nasceu atrás da serra e iluminou a cidade inteira."),
        "fricative": Utterance("Na feira havia frutas de todas as cores e cheiros."),
        "stop": Utterance("He opened the window and looked at the quiet street.", voice="en-us"),
        "other take": Utterance("Minha avó fazia pão de queijo todo domingo de manhã."),
        "slower": Utterance("O sol nasceu atrás da serra e iluminou a cidade inteira.", words_per_minute=125),
        "other speaker": Utterance("O sol nasceu atrás da serra e iluminou a cidade inteira.", voice="pt-br+f2"),
        "third speaker": Utterance("Minha avó fazia pão de queijo todo domingo.", voice="pt-br+croak", pitch=20),
    }
    return dict(zip(text, speak_all(list(text.values())), strict=True))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def loader(tiny_base: Path) -> CoquiLoader:
    """Loads the tiny base model and its checkpoints."""
    import torch

    from services.inference.engine.coqui_engine import CoquiLoader

    torch.set_num_threads(1)
    return CoquiLoader(tiny_base, device="cpu")


@pytest.fixture(scope="session")
def engine(loader: CoquiLoader) -> CoquiEngine:
    """The tiny base model; not to be changed."""
    return loader.load(None)


@pytest.fixture(scope="session")
def checkpoint(engine: CoquiEngine, tiny_base: Path, speech: dict[str, Samples], tmp_path_factory: Any) -> Path:
    """A checkpoint whose weights are a little off the base's, with a voice and recordings of it."""
    import torch

    from services.xtts.base import fingerprint
    from services.xtts.build import read_config
    from services.xtts.checkpoint import Checkpoint, ReferenceVoice, save_checkpoint
    from services.xtts.load import load_for_training

    def as_int16(name: str) -> torch.Tensor:
        return torch.from_numpy((speech[name] * 32_767).astype(np.int16))

    generator = torch.Generator().manual_seed(1)
    weights = load_for_training(tiny_base).gpt.state_dict()
    tuned = {name: value + 0.02 * torch.randn(value.shape, generator=generator) for name, value in weights.items()}
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint_epoch_10.pth"
    save_checkpoint(
        path,
        Checkpoint(
            model_name="my_voice",
            epoch=10,
            base_name="tiny",
            base_fingerprint=fingerprint(tiny_base),
            config=read_config(tiny_base / "config.json").raw,
            language="pt",
            gpt=tuned,
            voice=ReferenceVoice(engine.condition([speech["vowel"]]), as_int16("vowel"), ("segment_00001",)),
            scores={"held_out_loss": 4.0},
            created="2026-11-23T10:00:00+00:00",
            held_out=(as_int16("other take"), as_int16("slower")),
        ),
    )
    return path


@dataclass(frozen=True)
class Service:
    """The inference service behind a real channel."""

    stub: Any
    store: ObjectStore
    servicer: InferenceServicer
    folder: Path


ServiceMaker = Callable[..., Any]


@pytest.fixture
async def start(loader: CoquiLoader, checkpoint: Path, tmp_path: Path) -> AsyncIterator[ServiceMaker]:
    """Starts services with settings of the test's own; the checkpoint is in their store."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Service]:
        settings = InferenceSettings(data_dir=tmp_path, **changes)
        store = open_store(settings.storage_url)
        store.put(CHECKPOINT, checkpoint)
        files = CheckpointFiles(store, NodeCache(tmp_path / "checkpoints", settings.checkpoint_cache_bytes))
        voices = Voices(store, files, lambda: loader, settings.loaded_models)
        servicer = InferenceServicer(settings, store, files, voices, ModelThread(settings.inference_queue))
        server = grpc.aio.server(interceptors=[ChassisInterceptor()], options=SERVER_OPTIONS)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Service(inference_pb2_grpc.InferenceServiceStub(channel), store, servicer, tmp_path)
        finally:
            await server.stop(0)
            servicer.thread.close()

    async with AsyncExitStack() as stack:
        yield lambda **changes: stack.enter_async_context(run(**changes))
