"""What the processes of one training do together, so that it computes what one process would.

Each takes its share of every batch; gradients are summed as if the batch had been computed whole. All hold the same
weights, and one of them, the leader, reports and saves. With one process nothing here costs anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, gather_object
from torch import Tensor, nn

from services.runtime.jobs.context import JobReleased, JobStopped
from services.trainer.clips import LeftOut
from services.trainer.features import Example
from services.trainer.state import Position
from services.xtts.features import SAMPLES_PER_CODE

_WISHES = (None, JobStopped, JobReleased)


@dataclass(frozen=True)
class Share:
    """What one process does of a batch.

    Attributes:
        clips: Positions of its clips in the batch.
        text: Its part of the batch's text tokens, 0..1: the weight of its mean text loss in that of the batch.
        audio: Its part of the audio codes, likewise.
    """

    clips: tuple[int, ...]
    text: float
    audio: float


def share_of(examples: Sequence[Example], rank: int, processes: int) -> Share:
    """Returns what a process does of a batch: every so many'th clip.

    A process that is left without computes the first clip for nothing, since all must take part in every step.
    """
    own = tuple(range(rank, len(examples), processes))
    if not own:
        return Share((0,), 0.0, 0.0)
    text, audio = ([count(example) for example in examples] for count in (_text_targets, _audio_targets))
    return Share(own, sum(text[n] for n in own) / sum(text), sum(audio[n] for n in own) / sum(audio))


def _text_targets(example: Example) -> int:
    return len(example.tokens) + 1  # and the stop token


def _audio_targets(example: Example) -> int:
    # As GPT.forward counts: three codes more than the clip has, and the stop code.
    return -(-len(example.samples) // SAMPLES_PER_CODE) + 4


def add_up(accelerator: Accelerator, figures: dict[str, float]) -> dict[str, float]:
    """Returns the sums of figures over the processes: the same in each."""
    if accelerator.num_processes == 1:
        return figures
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=accelerator.device)
    dist.all_reduce(values)
    return dict(zip(figures, values.tolist(), strict=True))


def check_stop_together(accelerator: Accelerator, *, stop: bool, release: bool) -> None:
    """Raises in every process what the leader is asked to do, or in none.

    Args:
        accelerator: Of this process.
        stop: Whether somebody asked the job to stop; what others than the leader say does not count.
        release: Whether the leader's process shuts down.

    Raises:
        JobStopped: Somebody asked the job to stop.
        JobReleased: The leader's process shuts down.
    """
    wish = 1 if stop else 2 if release else 0
    if accelerator.num_processes > 1:
        wish = int(broadcast(torch.tensor(wish, device=accelerator.device)))
    raised = _WISHES[wish]
    if raised is not None:
        raise raised


def agree_on(accelerator: Accelerator, examples: list[Example], left_out: list[LeftOut]) -> tuple[list[Example], list[LeftOut]]:
    """Leaves out what any process had to leave out: all must train on the same."""
    if accelerator.num_processes == 1:
        return examples, left_out
    names = {clip.name: clip for clip in gather_object(left_out)}
    return [example for example in examples if example.clip.name not in names], list(names.values())


def share_state(accelerator: Accelerator, gpt: nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> Position:
    """Gives every process the leader's weights, optimiser and position; returns the latter."""
    if accelerator.num_processes == 1:
        return position
    position = broadcast_object_list([position])[0]
    for value in gpt.state_dict().values():
        dist.broadcast(value, 0)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = broadcast_object_list([[sorted(optimizer.state.get(parameter, {})) for parameter in parameters]])[0]
    for parameter, names in zip(parameters, kept, strict=True):
        state = optimizer.state[parameter] if names else {}
        for name in names:
            dist.broadcast(state.setdefault(name, _empty(name, parameter)), 0)
    return position


def _empty(name: str, parameter: Tensor) -> Tensor:
    # AdamW counts its steps in one number beside the two averages of each gradient.
    if name == "step":
        return torch.zeros((), dtype=torch.float32, device=parameter.device)
    return torch.zeros_like(parameter, requires_grad=False)
