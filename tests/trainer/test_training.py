"""What a training says of the GPU that it computes on; runs on the CPU say nothing, as the whole runs beside this show."""

from __future__ import annotations

import pytest
import torch

from services.trainer.training import gpu_memory


def test_the_memory_of_a_gpu_is_that_of_this_process_on_that_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # no GPU here: what torch says of its allocator, by device
    monkeypatch.setattr(torch.cuda, "memory_allocated", {torch.device("cuda", 1): 5_000_000_000}.__getitem__)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {torch.device("cuda", 1): 7_000_000_000}.__getitem__)
    figures = gpu_memory(torch.device("cuda", 1))
    assert figures == {"gpu_memory_bytes": 5_000_000_000, "gpu_memory_peak_bytes": 7_000_000_000}
    assert gpu_memory(torch.device("cpu")) == {}
