"""Fine-tunes the GPT of XTTS on the clips of one voice: `finetune` reads top to bottom as the data flows.

The maths is that of coqui's recipe, on coqui's `GPT.forward`: two cross entropies, AdamW, conditioning crops drawn anew at
every use. What surrounds it is ours: audio codes are computed once, a run that is stopped or killed continues where it
stood and ends with the same weights, and every checkpoint carries the voice to speak with.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DistributedType
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from services.runtime.errors import FailedPrecondition
from services.runtime.jobs.context import JobReleased, JobStopped
from services.runtime.store import ObjectStore
from services.trainer.clips import Clip, LeftOut, pick, split_held_out
from services.trainer.evaluate import compute_losses
from services.trainer.features import Example, FeatureMaker, make_batch, make_examples, random_crop
from services.trainer.optimise import learning_rate_at, make_optimizer, set_learning_rate
from services.trainer.options import TrainOptions
from services.trainer.parallel import add_up, agree_on, check_stop_together, share_of, share_state
from services.trainer.resume import begin_run, find_state
from services.trainer.saving import (
    keep_events,
    write_checkpoint,
    write_interrupted,
    write_state,
    write_state_now_and_then,
)
from services.trainer.state import draws_of_batch, order_of_epoch
from services.trainer.training import LossDiverged, Training, gpu_memory
from services.voices.checkpoints import Run, checkpoint_key, output_folder, write_run
from services.xtts.base import fingerprint
from services.xtts.build import read_config
from services.xtts.load import load_for_training

if TYPE_CHECKING:
    from services.runtime.jobs.context import JobContext

_SERIES_POINTS = 2_000
"""Points a series has at most; longer runs record every so many steps."""


_NARROW = 256
"""Channels below which a second thread costs more than it brings (XTTS-v2 has 1,024, the stand-in 64)."""


class NothingToTrainOn(FailedPrecondition):
    """No clip of the dataset is fit for training."""


def finetune(
    job: JobContext,
    store: ObjectStore,
    *,
    clips: Sequence[Clip],
    options: TrainOptions,
    base: Path,
    base_name: str,
    model_name: str,
    resume: bool = False,
    on_cluster: bool = False,
) -> dict[str, Any]:
    """Trains a model on clips, from its first epoch to its last.

    It runs in one process, or at once in several that `launch.py` started: each takes its share of every batch (`parallel.py`),
    and the first reports and saves. A job that is started again continues by itself. Checkpoints, TensorBoard events and the
    state to continue from go to `train/output/<model>/` in the store.

    Args:
        job: Whom to report to; its scratch folder holds what is computed once.
        store: Where the clips are and the results go.
        clips: The voice's clips, in the order of their names.
        options: How to train.
        base: Folder of the base model.
        base_name: What the base is called, for people.
        model_name: The model to make.
        resume: Whether to continue the model's last run; otherwise an earlier run of that name moves aside.
        on_cluster: Whether the job may continue on another machine: what it continues from is then always in the store.

    Returns:
        The result of the job, as JSON values.

    Raises:
        NothingToTrainOn: No clip is fit.
        StateMisfit: The run to continue was made from another base model.
        JobStopped: Somebody asked to stop; the state is saved.
        JobReleased: The process shuts down; the state is saved.
    """
    accelerator = _accelerator(job, base, options)
    leads = accelerator.is_main_process
    run = begin_run(job, store, model_name, resume=resume) if leads else Run(job.id, job.parameters)
    maker = FeatureMaker(base, store, job.scratch / "features", accelerator.device)
    examples, left_out = _prepare(job, maker, clips, accelerator)
    training = _start(job, store, options, base, base_name, model_name, accelerator, examples, run)
    training.on_cluster = on_cluster
    _continue(training)
    try:
        while training.position.epoch < options.epochs:
            _train_epoch(training)
            _finish_epoch(training)
    except (JobStopped, JobReleased) as ended:
        if training.leads:
            write_interrupted(training, for_good=isinstance(ended, JobStopped))
        raise
    return _complete(training, left_out) if training.leads else {}


def _set_threads(base: Path) -> None:
    """Gives torch the cores that it can use: all, or one for a narrow model, whose operations are shorter than a handover.

    It undoes what importing coqui-tts may have done: its `xtts.trainer.dataset` sets torch to one thread.
    """
    narrow = read_config(base / "config.json").xtts.model_args.gpt_n_model_channels < _NARROW
    torch.set_num_threads(1 if narrow else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def _accelerator(job: JobContext, base: Path, options: TrainOptions) -> Accelerator:
    """Chooses device and precision: the GPU in bfloat16 where there is one that can, else the CPU in float32."""
    on_gpu = torch.cuda.is_available()
    bfloat16 = on_gpu and torch.cuda.is_bf16_supported()
    accelerator = Accelerator(
        cpu=not on_gpu,
        mixed_precision="bf16" if bfloat16 else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # the GPT has none that change
    )
    _set_threads(base)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    plain = {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}
    # A process that believes itself alone trains on its share only, and nothing else would tell.
    if accelerator.num_processes != processes or accelerator.distributed_type not in plain:
        raise RuntimeError(f"{accelerator.num_processes} of {processes} processes, {accelerator.distributed_type}")
    how = f", {processes} processes of this kind together" * (processes > 1)
    job.log(f"Training on {_device_name()} in {'bfloat16' if bfloat16 else 'float32'}{how}.")
    if options.use_deepspeed:
        job.log(_about_deepspeed(processes))
    return accelerator


def _device_name() -> str:
    threads = torch.get_num_threads()
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"the CPU with {threads} thread{'s' * (threads != 1)}"


def _about_deepspeed(processes: int) -> str:
    if processes > 1:
        return f"use_deepspeed: each of the {processes} processes holds the whole model and takes its share of every batch."
    count = torch.cuda.device_count()
    return (
        "use_deepspeed has no effect: it splits one training over the processes of several GPUs, and this one runs as "
        f"one process on a machine with {count} GPU{'s' * (count != 1)}."
    )


def _prepare(
    job: JobContext, maker: FeatureMaker, clips: Sequence[Clip], accelerator: Accelerator
) -> tuple[list[Example], list[LeftOut]]:
    def before_each(index: int, clip: Clip) -> None:
        job.check_stop()
        job.progress(0.0, f"Preparing clip {index + 1} of {len(clips)}: {clip.name}")

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > 1:  # each makes a part, and then finds those of the others on this machine made
        make_examples(maker, clips[accelerator.local_process_index :: here], before_each)
    accelerator.wait_for_everyone()
    examples, left_out = agree_on(accelerator, *make_examples(maker, clips, before_each))
    for clip in left_out:
        job.log(f"{clip.name} {clip.reason}: left out.")
    if not examples:
        raise NothingToTrainOn(
            f"None of the {len(clips)} clips can be trained on; the first {clips[0].name} {left_out[0].reason}."
            if left_out
            else "The dataset has no clips with transcripts: transcribe it first."
        )
    return examples, left_out


def _start(
    job: JobContext,
    store: ObjectStore,
    options: TrainOptions,
    base: Path,
    base_name: str,
    model_name: str,
    accelerator: Accelerator,
    examples: list[Example],
    run: Run,
) -> Training:
    """Loads the model and splits the examples."""
    split = split_held_out([example.clip for example in examples], options.held_out)
    minutes = sum(len(example.samples) for example in examples) / 22_050 / 60
    job.log(f"Training on {len(split.train)} clips of {len(examples)} ({minutes:.1f} minutes): {split.how}")
    model = load_for_training(base).to(accelerator.device)
    _set_dropout(model.gpt, options.dropout)
    optimizer = make_optimizer(model.gpt, options.learning_rate)
    gpt, optimizer = accelerator.prepare(model.gpt.train(), optimizer)
    # What later estimates are told apart by.
    run = replace(run, base_name=base_name, device=_device_name())
    if accelerator.is_main_process:
        write_run(store, model_name, run)
    return Training(
        job=job,
        store=store,
        options=options,
        base=base,
        base_name=base_name,
        model_name=model_name,
        model=model,
        gpt=gpt,
        optimizer=optimizer,
        accelerator=accelerator,
        train=pick(examples, split.train),
        held_out=pick(examples, split.held_out),
        events=SummaryWriter(str(job.scratch / "events")) if accelerator.is_main_process else None,
        run=run,
    )


def _set_dropout(gpt: nn.Module, share: float) -> None:
    for module in gpt.modules():
        if isinstance(module, nn.Dropout) and module.p:  # coqui fixes it at a tenth, or at none
            module.p = share


def _continue(training: Training) -> None:
    """Takes up the state of an earlier attempt or run, when there is one."""
    accelerator, gpt = training.accelerator, training.accelerator.unwrap_model(training.gpt)
    if training.leads:
        _load_state(training, gpt)
    training.position = share_state(accelerator, gpt, training.optimizer, training.position)


def _load_state(training: Training, gpt: nn.Module) -> None:
    state = find_state(training.job, training.store, training.model_name, fingerprint(training.base))
    if state is None:
        return
    gpt.load_state_dict(state.gpt)
    training.optimizer.load_state_dict(state.optimizer)
    position = state.position
    if state.clips != training.clips_digest and position.batch:
        training.job.log("The clips or the batch size have changed since: the epoch begins anew.")
        position = position.begin_epoch_again()
    training.position = position
    # TensorBoard then forgets what the earlier attempt wrote after this point.
    _close_events(training)
    training.events = SummaryWriter(str(training.job.scratch / "events"), purge_step=position.step + 1)
    training.job.log(f"Continuing after epoch {position.epoch} of {training.options.epochs}, batch {position.batch}.")


def _train_epoch(training: Training) -> None:
    """Goes through what is left of the epoch."""
    options, epoch = training.options, training.position.epoch + 1
    order = order_of_epoch(len(training.train), options.seed, epoch)
    training.gpt.train()
    for batch in range(training.position.batch, training.batches):
        if batch % options.accumulation == 0:  # gradients that are added up so far are no part of the state
            job = training.job
            check_stop_together(training.accelerator, stop=job.stop_requested, release=job.released)
            if training.leads:
                job.confirm()
                write_state_now_and_then(training)
        chosen = pick(training.train, order[batch * options.batch_size : (batch + 1) * options.batch_size])
        figures = _train_batch(training, chosen, epoch, batch)
        training.position = training.position.after_batch(figures["loss"])
        _report(training, epoch, figures)


def _train_batch(training: Training, examples: list[Example], epoch: int, batch: int) -> dict[str, float]:
    """Does one step, or this process's share of it, and returns the figures of the whole."""
    options, step = training.options, training.position.step
    rank, processes = training.accelerator.process_index, training.accelerator.num_processes
    random = draws_of_batch(options.seed, epoch, batch, rank)
    crops = [random_crop(example.samples, random) for example in examples]  # all, so that each clip has the same in any share
    share = share_of(examples, rank, processes)
    inputs = make_batch(pick(examples, share.clips), pick(crops, share.clips), training.model.mel_stats)
    losses = compute_losses(training.gpt, inputs, training.accelerator.device).weighted(share.text, share.audio)
    rate = learning_rate_at(step, training.total_steps, options.learning_rate)
    figures = {**add_up(training.accelerator, losses.figures()), "learning_rate": rate}
    if not math.isfinite(figures["loss"]):
        raise LossDiverged(step + 1, options.learning_rate)
    # The shares' losses add up to that of the batch; what is averaged over the processes is their gradients.
    training.accelerator.backward(losses.total * processes / options.accumulation)
    if (batch + 1) % options.accumulation == 0 or batch + 1 == training.batches:
        training.accelerator.clip_grad_norm_(training.gpt.parameters(), options.max_gradient_norm)
        set_learning_rate(training.optimizer, rate)
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
    return figures


def _report(training: Training, epoch: int, figures: dict[str, float]) -> None:
    """Tells how far the run is, and adds to its series: every step, or fewer of a run of many."""
    position, epochs = training.position, training.options.epochs
    every = max(1, training.total_steps // _SERIES_POINTS)
    if position.step % every == 0 or position.batch == training.batches:
        training.record(epoch=epoch, **figures, **gpu_memory(training.accelerator.device))
    training.job.progress((position.epoch + position.batch / training.batches) / epochs, f"Epoch {epoch} of {epochs}")


def _finish_epoch(training: Training) -> None:
    """Says how the epoch went, and saves what is due."""
    training.position = training.position.after_epoch()
    epoch = training.position.epoch
    training.job.log(f"Epoch {epoch}/{training.options.epochs} - Loss: {training.position.last_loss:.4f}")
    if training.leads and training.options.saves_after(epoch):
        training.job.confirm()
        write_checkpoint(training)
        write_state(training, to_store=True)


def _complete(training: Training, left_out: list[LeftOut]) -> dict[str, Any]:
    training.run = replace(training.run, completed=True)
    write_run(training.store, training.model_name, training.run)
    keep_events(training)
    _close_events(training)
    training.job.progress(1.0, "The training is complete")
    epochs = training.position.epoch
    return {
        "model_name": training.model_name,
        "output_folder": output_folder(training.model_name),
        "epochs": epochs,
        "checkpoint": checkpoint_key(training.model_name, epochs),
        "best_checkpoint": checkpoint_key(training.model_name, training.run.best_epoch),
        "best_score": training.run.best_score,
        "clips_trained": len(training.train),
        "clips_held_out": len(training.held_out),
        "clips_left_out": [{"name": clip.name, "reason": clip.reason} for clip in left_out],
    }


def _close_events(training: Training) -> None:
    if training.events is not None:
        training.events.close()
