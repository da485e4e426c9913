"""The steps of the demonstration, each a request or two to the API; each returns what it made, in words and as a value."""

from __future__ import annotations

import os
from pathlib import Path

from rich.table import Table

from gateway.schemas.jobs import Job
from timbre.demo.api import DemoFailed, Run
from timbre.demo.check import AudioFacts, check_audio
from timbre.demo.sentences import SENTENCES
from timbre.demo.show import Bar, minutes, plot_loss
from timbre.demo.speech import make_recording

FOLDER = "datasets/demo_voice"
MODEL_NAME = "demo_voice_model"
EPOCHS = 10  # the fewest the API takes
BATCH_SIZE = 4
# The stand-in starts from random weights: with the usual 0.0001, ten epochs would hardly move its loss.
STAND_IN_LEARNING_RATE = 0.001
SAY = "Este é um teste de síntese de voz em português brasileiro."

# Different pauses in each recording, in seconds: segmentation has to find its own places to cut.
_PAUSES = ((0.5, 0.9, 0.6, 1.6, 0.4, 1.1), (0.7, 0.45, 1.3, 0.6, 0.8))


def speak(run: Run, show: Bar) -> tuple[str, list[str]]:
    """Speaks the recordings: the same sentences with different pauses, as WAV and as FLAC; returns the files' names."""
    names = ["first.wav", "second.flac"]
    seconds = 0.0
    for index, name in enumerate(names):
        show(index / len(names), name)
        wav = run.output / "recordings" / f"{Path(name).stem}.wav"
        seconds += make_recording(wav, SENTENCES, pause_seconds=_PAUSES[index], seed=index)[-1].end_seconds
        if name.endswith(".flac"):
            _compress(wav, wav.with_suffix(".flac"))
    return f"{len(names)} recordings, {minutes(seconds)} min, {len(names) * len(SENTENCES)} sentences with pauses", names


def _compress(wav: Path, flac: Path) -> None:
    import soundfile as sf

    audio, rate = sf.read(wav, dtype="int16")
    sf.write(flac, audio, rate, format="FLAC")
    wav.unlink()


def download(run: Run, show: Bar, urls: list[str]) -> tuple[str, None]:
    """Has the recordings downloaded into the dataset, and looks into what landed."""
    run.follow(run.client.download(FOLDER, urls), show)
    landed = [check_audio(path) for path in sorted((_objects(run) / FOLDER / "raw").glob("*.wav"))]
    if len(landed) != len(urls):
        raise DemoFailed(f"{len(urls)} recordings were to be downloaded and {len(landed)} landed.")
    seconds = sum(facts.duration_seconds for facts in landed)
    return f"{len(landed)} sources, {minutes(seconds)} min, 22,050 Hz mono", None


def segment(run: Run, show: Bar) -> tuple[str, None]:
    """Has the recordings cut into segments, and looks into each."""
    run.follow(run.client.segment(FOLDER, min_duration=7.0, max_duration=12.0, vad_threshold=-40.0), show)
    files = run.client.files(FOLDER, limit=10_000).files
    if not files:
        raise DemoFailed("Segmentation made no segments.")
    lengths = [check_audio(_objects(run) / file.path).duration_seconds for file in files]
    return f"{len(files)} segments of {min(lengths):.1f} to {max(lengths):.1f} s, {minutes(sum(lengths))} min in all", None


def transcribe(run: Run, show: Bar) -> tuple[str, None]:
    """Has the segments transcribed."""
    run.follow(run.client.transcribe(FOLDER), show)
    stats = run.client.stats(FOLDER)
    return f"text for {stats.transcribed_percent:.0f}% of {stats.files} segments, in metadata.csv", None


def train(run: Run, show: Bar) -> tuple[str, None]:
    """Fine-tunes the base model on the dataset."""
    rate = STAND_IN_LEARNING_RATE if run.model == "tiny" else None
    started = run.client.train(MODEL_NAME, FOLDER, epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=rate)

    def describe(_job: Job) -> str:
        status = run.client.training_status()
        loss = "" if status.loss is None else f", loss {status.loss:.3f}"
        return f"epoch {status.epoch}/{status.total_epochs}{loss}"

    run.follow(started, show, describe)
    status = run.client.training_status()
    if (status.state, status.progress) != ("completed", 100) or status.loss is None:
        raise DemoFailed(f"Training ended as {status.state} at {status.progress}%.")
    return f"{status.epoch} epochs, loss {status.loss:.3f}", None


def watch(run: Run, _show: Bar) -> tuple[str, list[float]]:
    """Gets the loss of every step, draws it, and returns it."""
    series = run.client.metrics(MODEL_NAME).series["loss"]
    points = [(step, value) for step, value in zip(series.steps, series.values, strict=True) if value is not None]
    losses = [value for _, value in points]
    plot_loss(run.output / "loss.png", [step for step, _ in points], losses)
    lines = run.client.training_logs().logs.splitlines()
    return f"{len(points)} points of the loss, {len(lines)} lines of log", losses


def checkpoints(run: Run, _show: Bar) -> tuple[str, str]:
    """Lists the checkpoints; returns the key of the newest."""
    listed = run.client.checkpoints(MODEL_NAME)
    if not listed:
        raise DemoFailed("Training left no checkpoint.")
    newest = listed[0]
    return f"{len(listed)}, the newest {newest.name} ({newest.size_mb:.2f} MB)", newest.path


def load(run: Run, _show: Bar, checkpoint: str) -> tuple[str, None]:
    """Loads a checkpoint."""
    loaded = run.client.load_checkpoint(checkpoint)
    return f"{Path(loaded.checkpoint).name} is ready to speak", None


def synthesize(run: Run, _show: Bar, checkpoint: str) -> tuple[str, AudioFacts]:
    """Says a sentence with a checkpoint."""
    facts = _fetch(run, run.client.synthesize(SAY, checkpoint, temperature=0.7, speed=1.0).audio_url)
    return str(facts), facts


def compare(run: Run, _show: Bar, checkpoint: str) -> tuple[str, list[AudioFacts]]:
    """Says it with the base model and the checkpoint, and gets the scores of both."""
    made = run.client.ab_test(checkpoint, SAY)
    scores = (
        f"similarity {made.similarity:.1f} (base {made.base_similarity:.1f}), "
        f"MFCC score {made.mfcc_score:.1f} (base {made.base_mfcc_score:.1f}), of 100"
    )
    return scores, [_fetch(run, made.finetuned_audio), _fetch(run, made.base_audio)]


def _fetch(run: Run, url: str) -> AudioFacts:
    """Downloads an audio file as a user would, and checks what is in it."""
    return check_audio(run.client.save(url, run.output / "audio" / url.rpartition("/")[2]))


def _objects(run: Run) -> Path:
    return run.output / "data" / "objects"


def files(run: Run, checkpoint: str, audio: list[AudioFacts]) -> Table:
    """Returns the table of the files that were made, each looked at once more.

    Raises:
        DemoFailed: One of them is not there.
    """
    dataset = _objects(run) / FOLDER
    entries = [(facts.path, str(facts)) for facts in audio]
    entries += [(run.output / "loss.png", "the loss of each step")]
    entries += [(dataset / "segments", f"{len(list((dataset / 'segments').glob('*.wav')))} WAVs")]
    metadata = dataset / "metadata.csv"
    entries += [(metadata, f"{len(metadata.read_text().splitlines())} rows: name|text as heard|normalised text")]
    entries += [(_objects(run) / checkpoint, "checkpoint")]
    entries += [(run.output / "stack.log", "what the services said")]
    table = Table(title="Where it is", title_justify="left")
    table.add_column("File", overflow="fold")
    table.add_column("What it is")
    for path, what in entries:
        if not path.exists():
            raise DemoFailed(f"{path} should be there and is not.")
        table.add_row(os.path.relpath(path), what)
    return table
