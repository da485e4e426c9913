"""Options are checked, and checkpoints come often enough."""

from __future__ import annotations

from typing import Any

import pytest

from services.runtime.errors import InvalidArgument
from services.trainer.options import TrainOptions


@pytest.mark.parametrize(
    ("epochs", "save_every", "saved"),
    [
        (10, None, list(range(1, 11))),
        (100, None, list(range(10, 101, 10))),
        (105, None, [*range(10, 101, 10), 105]),
        (3, 2, [2, 3]),
        (1, None, [1]),
    ],
)
def test_checkpoints_come_every_tenth_and_at_the_end(epochs: int, save_every: int | None, saved: list[int]) -> None:
    options = TrainOptions(epochs=epochs, save_every=save_every)
    assert [epoch for epoch in range(1, epochs + 1) if options.saves_after(epoch)] == saved


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"held_out": 0.6}, {"keep_last": 0}, {"save_every": 0}],
)
def test_values_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidArgument, match=name):
        TrainOptions(**wrong)
