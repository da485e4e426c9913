"""A training over an S3 server that is away for longer than callers would wait: it waits, and ends well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.runtime.jobs import JobContext
from services.trainer.clips import Clip
from services.trainer.launch import Plan, launch
from services.trainer.options import TrainOptions
from services.trainer.settings import TrainerSettings
from services.voices.checkpoints import list_checkpoints
from tests.fault_proxy import Fault, FaultProxy
from tests.servers import ACCESS_KEY, SECRET_KEY, s3_address


def test_a_training_waits_out_a_store_that_is_away(
    spoken: Sequence[tuple[Path, str]],
    clips: list[Clip],
    make_job: Callable[[], JobContext],
    moto_port: int,
    model_cache: Path,
    tiny_base: Path,
    tmp_path: Path,
) -> None:
    address = s3_address("moto", moto_port)
    store = address.open()
    for (path, _), clip in zip(spoken, clips, strict=True):
        store.put(clip.key, path)
    with FaultProxy(moto_port) as proxy:
        settings = TrainerSettings(
            data_dir=tmp_path / "data",
            cache_dir=model_cache,
            base_model="tiny",
            storage_url=address.url.replace(f":{moto_port}", f":{proxy.port}"),
            s3_access_key=ACCESS_KEY,
            s3_secret_key=SECRET_KEY,
        )
        proxy.inject(*[Fault("busy")] * 6)  # callers are told after four
        result = launch(make_job(), settings, Plan(tuple(clips), TrainOptions(epochs=1, batch_size=4), "voice"))
        assert proxy.left == 0
    assert [entry.key for entry in list_checkpoints(store, "voice")] == [result["checkpoint"]]
