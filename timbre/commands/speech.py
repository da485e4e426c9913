"""`timbre say` and `timbre ab`: hear a voice, and hear it beside another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timbre.commands.session import FAILED, AsJson, Session, Token, Url, session, table, tell

if TYPE_CHECKING:
    from timbre import Client

# Programs that play 16-bit mono samples at 22,050 Hz from standard input; the first that is installed is used.
_PLAYERS = (
    ("pw-cat", "--playback", "--rate=22050", "--channels=1", "--format=s16", "-"),
    ("paplay", "--raw", "--rate=22050", "--channels=1", "--format=s16le"),
    ("aplay", "--quiet", "--file-type=raw", "--rate=22050", "--channels=1", "--format=S16_LE", "-"),
    ("play", "-q", "-t", "raw", "-r", "22050", "-c", "1", "-e", "signed-integer", "-b", "16", "-"),
    ("ffplay", "-autoexit", "-nodisp", "-loglevel", "error", "-f", "s16le", "-ar", "22050", "-ch_layout", "mono", "-i", "-"),
)
SAMPLE_RATE_HERTZ, _SAMPLE_BYTES = 22_050, 2

_Checkpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", "-c", help="A checkpoint, a voice's name, or base. Default: the voice that changed last."),
]


def say(
    text: Annotated[str, typer.Argument(help="What to say; - reads standard input.", show_default=False)],
    checkpoint: _Checkpoint = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a WAV here instead of playing it.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Variation, 0.1 to 1.5. Default: 0.7.")] = None,
    speed: Annotated[float | None, typer.Option(help="0.5 to 2. Default: 1.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the text. Default: the checkpoint's.")] = None,
    speaker: Annotated[str | None, typer.Option(help="A recording on the server to take the voice from.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed says it the same way.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say a text: plays it while it is made, or writes it to a file."""
    if text == "-":
        text = sys.stdin.read()
    if output is not None and output.suffix.lower() not in ("", ".wav"):
        raise typer.BadParameter(f"{output} is no name of a WAV, and that is what is written.", param_hint="--output")
    player = next((words for words in _PLAYERS if shutil.which(words[0])), None)
    if output is None and player is None:
        names = ", ".join(words[0] for words in _PLAYERS)
        tell(f"Nothing here plays sound: install one of {names}, or write a file by --output speech.wav.", as_json)
        raise typer.Exit(FAILED)
    options = {"language": language, "speaker": speaker}
    with session(url, token, as_json) as now:
        chosen = _chosen(now.client, checkpoint)
        pieces = now.client.stream(text, chosen, temperature=temperature, speed=speed, seed=seed, **options)
        if output is not None:
            seconds = write(output, pieces) / SAMPLE_RATE_HERTZ
        else:
            assert player is not None
            seconds = play(player, pieces) / SAMPLE_RATE_HERTZ
        where = str(output) if output else ""
        answer = {"checkpoint": chosen, "text": text, "duration": seconds, "file": where or None}
        now.show(answer, f"{seconds:.1f} s by {chosen}" + (f" in {where}" if where else ""))


def play(player: tuple[str, ...], pieces: Iterable[bytes]) -> int:
    """Plays audio as it comes and returns how many samples that were.

    Raises:
        OSError: The player failed.
    """
    played = 0  # bytes: a piece may end in the middle of a sample
    with subprocess.Popen(player, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        try:
            for piece in _in_samples(pieces):
                process.stdin.write(piece)
                process.stdin.flush()
                played += len(piece)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already: its exit code says how
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise OSError(f"{player[0]} could not play it (exit code {process.returncode}): write a file by --output speech.wav.")
    return played // _SAMPLE_BYTES


def write(path: Path, pieces: Iterable[bytes]) -> int:
    """Writes audio as it comes into a WAV, which is there when it is whole, and returns how many samples that were."""
    from timbre.client.transfer import whole_file

    samples = 0
    with whole_file(path) as file, wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(_SAMPLE_BYTES)
        wav.setframerate(SAMPLE_RATE_HERTZ)
        for piece in _in_samples(pieces):
            wav.writeframesraw(piece)
            samples += len(piece) // _SAMPLE_BYTES
    return samples


def _in_samples(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yields pieces of whole samples: a network cuts where it likes."""
    rest = b""
    for piece in pieces:
        whole = rest + piece
        rest = whole[len(whole) - len(whole) % _SAMPLE_BYTES :]
        yield whole[: len(whole) - len(rest)]


def ab(
    text: Annotated[str, typer.Argument(help="What both say.", show_default=False)],
    checkpoint: _Checkpoint = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the two WAVs.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the text. Default: the checkpoint's.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed says it the same way.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Compare the base model with a checkpoint: the same text by both, scored against recordings of the voice."""
    from timbre.client.endpoints.speech import BASE

    with session(url, token, as_json) as now:
        chosen = _chosen(now.client, checkpoint)
        if chosen == BASE:
            raise typer.BadParameter("There is no trained voice to compare with the base model: timbre train makes one.")
        made = now.client.ab_test(chosen, text, language=language, seed=seed)
        sides = (("base", made.base_audio, made.base_similarity, made.base_mfcc_score),
                 ("finetuned", made.finetuned_audio, made.similarity, made.mfcc_score))  # fmt: skip
        drawn = table("", "Similarity", "MFCC score", "Audio", title=f"{chosen}, of 100 each")
        for name, audio, similarity, mfcc_score in sides:
            place = _kept(now, audio, output / f"{name}.wav") if output else audio.partition("?")[0]
            drawn.add_row(name, f"{similarity:.1f}", f"{mfcc_score:.1f}", place)
        now.show(made, drawn)


def _kept(now: Session, audio_url: str, path: Path) -> str:
    return str(now.client.save(audio_url, path))


def _chosen(client: Client, name: str | None) -> str:
    """Returns the checkpoint that speaks: the one named, that of a voice named, or that of the voice that changed last.

    Raises:
        typer.BadParameter: There is no voice of this name, or it has no checkpoint.
    """
    from timbre.client.endpoints.speech import BASE  # it imports pydantic, which a page of help has no need of

    if name is not None and (name == BASE or "/" in name):
        return name
    voices = {voice.name: voice.current for voice in client.voices().voices if voice.current}
    if name is None:
        return next(iter(voices.values()), None) or BASE
    if name not in voices:
        raise typer.BadParameter(f"There is no voice {name!r} with a checkpoint: timbre checkpoints lists what there is.")
    return voices[name] or BASE
