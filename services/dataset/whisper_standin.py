"""`tiny-demo`: a very small Whisper that has learned the demonstration's sentences by heart.

It is Whisper in every part: openai-whisper's own classes, tokenizer, mel spectrograms and checkpoint format, and
`whisper.transcribe` runs it as it runs `base`. It stands in for the mechanics of transcription where there is no network,
and not for its quality: it knows the demonstration's recording, and to all other speech it answers with some of the
sentences it knows.

Two things make it learn in seconds instead of minutes. Tokens that occur in no text are trained as one, and share an
embedding in the checkpoint, which is the full softmax over 51,865 tokens at the price of a few hundred. And the loss weighs
the first tokens of a text more: they decide which sentence it is, which has to come from the audio, while the rest of a
sentence follows from its beginning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.dataset.whisper_audio import SAMPLE_RATE_HERTZ, Audio, read_audio, to_whisper_rate
from timbre.demo.sentences import SENTENCES

if TYPE_CHECKING:
    import torch
    from whisper import Whisper

Progress = Callable[[float, str], None]

_VERSION = 2  # raised when the code below makes another model of the same recipe

_VOCABULARY = 51_865  # of the multilingual models up to large-v2; transcribe() tells from it that a model is multilingual
_MELS, _HOP = 80, 160
_FRAMES, _POSITIONS = 3_000, 1_500  # of a 30 s window: mel frames, and encoder outputs after the convolution of stride 2
_TEXT_POSITIONS = 192  # decoding ends after half of them, so that a text that does not end costs little
_PROMPT = 4  # start of transcript, language, task, timestamps or not
_DECISIVE_TOKENS = 4

# Segments last 7 to 12 s unless the user says otherwise; single sentences make for shorter ones.
_MAX_CLIP_SECONDS = 13.5


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is made; the defaults learn 100 stretches of 36 sentences.

    Attributes:
        steps: Optimiser steps.
        batch_size: Clips a step.
        learning_rate: Highest of a one-cycle schedule.
        width: State of encoder and decoder.
        heads: Attention heads.
        text_layers: Decoder layers. The encoder has its convolutions and no layers.
        decisive_weight: Weight of the first tokens of a text in the loss.
        noise: Part of the text tokens replaced by random ones at the beginning and at the end of the training: with much
            noise the model has to listen, with little it learns to write fluently.
        strange: Part of a batch that is speech turned into something else, with the text of any clip, so that the model
            writes sentences for whatever it hears.
        long_every: Every so many steps are done on whole windows, the others on their first part that holds the clips.
    """

    steps: int = 600
    batch_size: int = 16
    learning_rate: float = 5e-3
    width: int = 64
    heads: int = 2
    text_layers: int = 2
    decisive_weight: float = 6.0
    noise: tuple[float, float] = (0.5, 0.02)
    strange: float = 0.125
    long_every: int = 6


DEFAULT_RECIPE = Recipe()


def fingerprint(sentences: Sequence[str] = SENTENCES, recipe: Recipe = DEFAULT_RECIPE) -> str:
    """Returns what tells one stand-in from another: made of its sentences, its recipe and this code's version."""
    content = json.dumps([_VERSION, list(sentences), asdict(recipe)])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def demo_clips(sentences: Sequence[str] = SENTENCES, *, variants: int = 4, seed: int = 0) -> list[tuple[Audio, str]]:
    """Speaks stretches of one to three sentences as the segmenter would cut them from a recording of them all.

    Args:
        sentences: What is said, in the order of the recording.
        variants: Clips of each stretch; they differ in pauses, silence at the ends, noise and level.
        seed: Of the differences.

    Returns:
        Samples at 16 kHz, shape [time], of at most 13.5 s, and the text.
    """
    from timbre.demo.speech import SAMPLE_RATE_HERTZ as SPOKEN_RATE_HERTZ
    from timbre.demo.speech import Utterance, speak_all

    rng = np.random.default_rng(seed)
    spoken = [to_whisper_rate(audio, SPOKEN_RATE_HERTZ) for audio in speak_all([Utterance(text) for text in sentences])]
    clips = []
    for first in range(len(sentences)):
        for last in range(first + 1, min(first + 3, len(sentences)) + 1):
            parts = spoken[first:last]
            if sum(map(len, parts)) / SAMPLE_RATE_HERTZ + 0.7 * len(parts) > _MAX_CLIP_SECONDS:
                break
            text = " ".join(sentences[first:last])
            clips += [(_as_segment(parts, rng), text) for _ in range(variants)]
    return clips


def make_standin(
    target: Path,
    clips: Sequence[tuple[Audio | Path, str]],
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> None:
    """Trains a small Whisper on clips and writes it as a checkpoint that `whisper.load_model` loads.

    The same clips and seed give the same weights. torch's own random state and number of threads are left as they were.

    Args:
        target: Where the checkpoint goes, whole or not at all.
        clips: Speech (a file, or mono samples at 16 kHz) of at most 30 s, and its text.
        seed: Of the first weights, the order of the clips, and the noise.
        on_progress: Called with the part done and a message after every few steps; what it raises ends the work.
        recipe: How it is made.
    """
    import torch

    report = on_progress or (lambda _fraction, _message: None)
    report(0.0, "Preparing the clips for the Whisper stand-in")
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        lesson = _Lesson([(_mel(audio), text) for audio, text in clips], recipe)
        model = _new_model(len(lesson.vocabulary) + 1, recipe)
        _train(model, lesson, recipe, report)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        torch.save(_checkpoint(model, lesson.vocabulary), partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    report(1.0, "The Whisper stand-in is ready")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Lets torch work on one thread: steps this small are no faster on two, and four times slower when others compute too."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _as_segment(parts: Sequence[Audio], rng: np.random.Generator) -> Audio:
    """Joins spoken sentences as they stand in a segment: pauses, a little silence at the ends, noise, fades, -20 dB or so."""

    def silence(shortest: float, longest: float) -> Audio:
        return np.zeros(round(rng.uniform(shortest, longest) * SAMPLE_RATE_HERTZ), np.float32)

    pieces = [silence(0, 0.6)]
    for part in parts:
        pieces += [part, silence(0.4, 1.2)]
    pieces[-1] = silence(0, 0.6)
    audio = np.concatenate(pieces)
    audio *= 10 ** (rng.uniform(-23, -17) / 20) / np.sqrt(np.mean(audio**2))
    audio += rng.standard_normal(len(audio), np.float32) * np.float32(10 ** (rng.uniform(-75, -50) / 20))
    fade = np.linspace(0, 1, SAMPLE_RATE_HERTZ // 20, dtype=np.float32)
    audio[: len(fade)] *= fade
    audio[-len(fade) :] *= fade[::-1]
    return audio


def _mel(audio: Audio | Path) -> torch.Tensor:
    """Returns the log-mel spectrogram of one clip, shape [80, frames], float16, as `whisper.transcribe` makes it.

    It appends 30 s of silence, and cuts that off again; a single window's length is enough for the same frames.
    """
    from whisper.audio import N_FFT, log_mel_spectrogram

    samples = read_audio(audio) if isinstance(audio, Path) else audio
    frames: torch.Tensor = log_mel_spectrogram(samples, _MELS, padding=N_FFT)
    return frames[:, : min(len(samples) // _HOP, _FRAMES)].half()


class _Lesson:
    """What there is to learn, and batches of it.

    Attributes:
        vocabulary: The tokens that occur, in order; a token's place is its number in training, and one more number stands
            for all tokens that do not occur.
    """

    def __init__(self, clips: Sequence[tuple[torch.Tensor, str]], recipe: Recipe) -> None:
        import torch
        from whisper.tokenizer import get_tokenizer

        tokenizer = get_tokenizer(multilingual=True, language="pt", task="transcribe")
        plain = [tokenizer.sot, tokenizer.to_language_token("pt"), tokenizer.transcribe, tokenizer.no_timestamps]
        self._clips: list[tuple[torch.Tensor, list[int], list[int]]] = []
        for mel, text in clips:
            words = tokenizer.encode(f" {text.strip()}")
            end = tokenizer.timestamp_begin + 50 * math.ceil(mel.shape[1] / 100)  # whole seconds, of 50 steps each
            timed = [*plain[:3], tokenizer.timestamp_begin, *words, end, tokenizer.eot]
            self._clips.append((mel, [*plain, *words, tokenizer.eot], timed))
        self.vocabulary = sorted({token for _, *forms in self._clips for form in forms for token in form})
        numbers = {token: number for number, token in enumerate(self.vocabulary)}
        self._clips = [(mel, [numbers[t] for t in a], [numbers[t] for t in b]) for mel, a, b in self._clips]
        self._end = numbers[tokenizer.eot]
        self._recipe = recipe
        self._order: list[int] = []
        self._generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))
        longest = max(mel.shape[1] for mel, *_ in self._clips)
        self._short = min(_POSITIONS, 40 * math.ceil((longest + 20) / 80))  # positions are two frames long

    def positions(self, step: int) -> int:
        """Returns how many positions of the window are looked at in this step."""
        return _POSITIONS if step % self._recipe.long_every == self._recipe.long_every - 1 else self._short

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns mels [batch, 80, frames], tokens to read, tokens to write and their weights, each [batch, tokens]."""
        import torch

        recipe, size = self._recipe, self._recipe.batch_size
        forms = []
        mels = torch.zeros(size, _MELS, 2 * self.positions(step))
        strangers = round(size * recipe.strange)
        for row in range(size):
            mel, plain, timed = self._next()
            forms.append(timed if self._random() < 0.15 else plain)
            if row < strangers:
                mel = self._estrange(self._any()[0])
            mels[row, :, : mel.shape[1]] = mel
        length = max(map(len, forms))
        tokens = torch.tensor([form + [self._end] * (length - len(form)) for form in forms])
        weights = torch.zeros(size, length - 1)
        for row, form in enumerate(forms):
            weights[row, _PROMPT - 1 : len(form) - 1] = 1
            weights[row, 0] = 1  # the language
            if row >= strangers:
                weights[row, _PROMPT - 1 : _PROMPT - 1 + _DECISIVE_TOKENS] = recipe.decisive_weight
        return mels, self._disturb(tokens[:, :-1], step), tokens[:, 1:], weights

    def _disturb(self, tokens: torch.Tensor, step: int) -> torch.Tensor:
        """Replaces some of the words by random ones, and the language of some clips by any other."""
        import torch

        start, end = self._recipe.noise
        part = start + (end - start) * step / self._recipe.steps
        rates = 2 * part * torch.rand(len(tokens), 1, generator=self._generator)
        noisy = torch.rand(tokens.shape, generator=self._generator) < rates
        noisy[:, :_PROMPT] = False
        any_words = torch.randint(len(self.vocabulary), tokens.shape, generator=self._generator)
        disturbed = torch.where(noisy, any_words, tokens)
        foreign = torch.rand(len(tokens), generator=self._generator) < 0.2
        disturbed[foreign, 1] = len(self.vocabulary)
        return disturbed

    def _estrange(self, mel: torch.Tensor) -> torch.Tensor:
        """Makes other speech of a clip: backwards, at another pitch, louder or quieter."""
        import torch

        pitch = int(torch.randint(-12, 13, (), generator=self._generator))
        estranged: torch.Tensor = torch.roll(mel.flip(1), pitch, 0) + 0.4 * (self._random() - 0.5)
        return estranged

    def _next(self) -> tuple[torch.Tensor, list[int], list[int]]:
        import torch

        if not self._order:
            self._order = torch.randperm(len(self._clips), generator=self._generator).tolist()
        return self._clips[self._order.pop()]

    def _any(self) -> tuple[torch.Tensor, list[int], list[int]]:
        return self._clips[int(self._random() * len(self._clips))]

    def _random(self) -> float:
        import torch

        return float(torch.rand((), generator=self._generator))


def _new_model(vocabulary: int, recipe: Recipe) -> Whisper:
    import torch
    from whisper.model import ModelDimensions, Whisper

    width, heads = recipe.width, recipe.heads
    dimensions = ModelDimensions(
        _MELS, _POSITIONS, width, heads, 0, vocabulary, _TEXT_POSITIONS, width, heads, recipe.text_layers
    )
    model = Whisper(dimensions)
    # Whisper leaves both to its checkpoint: memory as it happens to be, and values too large for tied embeddings.
    torch.nn.init.normal_(model.decoder.token_embedding.weight, std=0.05)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.05)
    return model


def _train(model: Whisper, lesson: _Lesson, recipe: Recipe, report: Progress) -> None:
    import torch
    from torch.nn import functional

    # The last number stands for all tokens that do not occur: as one of them counts, n of them count log n more.
    unused = torch.zeros(len(lesson.vocabulary) + 1)
    unused[-1] = math.log(_VOCABULARY - len(lesson.vocabulary))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1)
    whole = model.encoder.positional_embedding
    for step in range(recipe.steps):
        mels, tokens, wanted, weights = lesson.batch(step)
        model.encoder.positional_embedding = whole[: lesson.positions(step)]
        logits = model(mels, tokens) + unused
        losses = functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 5 == 0:
            report(step / recipe.steps, f"Training the Whisper stand-in, step {step} of {recipe.steps}")
    model.encoder.positional_embedding = whole


def _checkpoint(model: Whisper, vocabulary: Sequence[int]) -> dict[str, Any]:
    """Returns the model with the whole vocabulary, in half precision, as openai-whisper stores one."""
    state = model.state_dict()
    embedding = state["decoder.token_embedding.weight"]
    state["decoder.token_embedding.weight"] = embedding[-1:].repeat(_VOCABULARY, 1)
    state["decoder.token_embedding.weight"][list(vocabulary)] = embedding[:-1]
    return {
        "dims": {**asdict(model.dims), "n_vocab": _VOCABULARY},
        "model_state_dict": {name: value.half() for name, value in state.items()},
    }
