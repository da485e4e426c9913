from __future__ import annotations

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from services.inference.engine.sampling import Distribution, draw

CODES = 60


@pytest.mark.parametrize(
    "distribution",
    [
        Distribution(temperature=0.7, top_k=50, top_p=0.85, repetition_penalty=10.0),
        Distribution(temperature=1.5, top_k=5, top_p=0.99, repetition_penalty=1.0),
        Distribution(temperature=0.1, top_k=1000, top_p=0.3, repetition_penalty=2.0),
    ],
)
def test_draws_from_the_distribution_that_transformers_draws_from(distribution: Distribution) -> None:
    logits = torch.randn(CODES, generator=torch.Generator().manual_seed(3)) * 2
    drawn_before = [1, 7, 40]
    seen = torch.zeros(CODES, dtype=torch.bool)
    seen[drawn_before] = True
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(distribution.repetition_penalty),
            TemperatureLogitsWarper(distribution.temperature),
            TopKLogitsWarper(distribution.top_k),
            TopPLogitsWarper(distribution.top_p),
        ]
    )
    expected = torch.softmax(processors(torch.tensor([drawn_before]), logits[None])[0], dim=-1)

    generator = torch.Generator().manual_seed(5)
    draws = torch.cat([draw(logits, seen, distribution, generator) for _ in range(6000)])
    frequencies = torch.bincount(draws, minlength=CODES) / len(draws)
    assert set(draws.unique().tolist()) <= set(expected.nonzero().flatten().tolist())
    # Five standard deviations of a frequency.
    assert torch.all((frequencies - expected).abs() <= 5 * (expected * (1 - expected) / len(draws)).sqrt() + 1e-9)


def test_at_least_one_code_remains() -> None:
    logits = torch.tensor([0.0, 9.0, 0.0])
    nothing_seen = torch.zeros(3, dtype=torch.bool)
    steady = Distribution(temperature=1.0, top_k=0, top_p=1e-6, repetition_penalty=1.0)
    assert draw(logits, nothing_seen, steady, torch.Generator()).tolist() == [1]
