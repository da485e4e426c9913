from __future__ import annotations

import http.server
import os
import subprocess
import threading
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile as sf

from services.dataset.decode import AudioTooLong, AudioUnreadable, to_wav
from timbre.demo.speech import Span

Recording = tuple[Path, list[Span]]


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


@pytest.fixture(scope="module")
def clip(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of speech."""
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    sf.write(path, sf.read(recording[0], frames=5 * 22_050, dtype="int16")[0], 22_050)
    return path


def rms(path: Path) -> float:
    return float(np.sqrt(np.mean(sf.read(path)[0] ** 2)))


def assert_refused(source: Path, target: Path, message: str) -> None:
    with pytest.raises(AudioUnreadable, match=message):
        to_wav(source, target)
    assert not list(target.parent.glob(f"{target.name}*"))


def test_a_wav_of_the_right_format_keeps_every_sample(clip: Path, tmp_path: Path) -> None:
    assert to_wav(clip, tmp_path / "out.wav") == 5.0
    np.testing.assert_array_equal(sf.read(tmp_path / "out.wav")[0], sf.read(clip)[0])
    assert os.listdir(tmp_path) == ["out.wav"]


@pytest.mark.parametrize("ending", ["mp3", "m4a", "opus", "webm", "flac", "ogg", "aiff", "mkv", "mka", "aac", "au", "caf"])
def test_formats(clip: Path, tmp_path: Path, ending: str) -> None:
    source = tmp_path / "nameless"
    made = tmp_path / f"made.{ending}"
    ffmpeg("-i", clip, "-af", "pan=stereo|c0=c0|c1=c0", "-ar", "48000", made)
    made.rename(source)
    seconds = to_wav(source, tmp_path / "out.wav")
    info = sf.info(tmp_path / "out.wav")
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 22_050, 1)
    assert seconds == pytest.approx(5, abs=0.15)
    assert info.frames == round(seconds * 22_050)
    assert rms(tmp_path / "out.wav") == pytest.approx(rms(clip), rel=0.1)


def test_the_sound_of_a_video(clip: Path, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=5:s=64x64", "-i", clip, "-shortest", tmp_path / "video.mp4")
    assert to_wav(tmp_path / "video.mp4", tmp_path / "out.wav") == pytest.approx(5, abs=0.15)


def test_stereo_is_mixed_without_clipping(tmp_path: Path) -> None:
    tone = 0.95 * np.sin(np.arange(44_100) * 0.05)
    sf.write(tmp_path / "stereo.wav", np.stack([tone, tone], 1), 44_100, subtype="FLOAT")
    to_wav(tmp_path / "stereo.wav", tmp_path / "out.wav")
    mixed = sf.read(tmp_path / "out.wav")[0][500:-500]
    assert np.abs(mixed).max() == pytest.approx(0.95, abs=0.01)


def test_a_video_without_sound(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", tmp_path / "silent.mp4")
    assert_refused(tmp_path / "silent.mp4", tmp_path / "out.wav", "silent.mp4 has no audio track")


@pytest.mark.parametrize("content", [b"", b"<html><body>Not found</body></html>", bytes(range(256)) * 300, b"RIFF\0\0\0\0WAVE"])
def test_what_is_not_audio(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "thing.mp3").write_bytes(content)
    assert_refused(tmp_path / "thing.mp3", tmp_path / "out.wav", "thing.mp3 is not audio, is damaged")


def test_a_wav_without_samples(tmp_path: Path) -> None:
    sf.write(tmp_path / "empty.wav", np.zeros(0), 22_050)
    assert_refused(tmp_path / "empty.wav", tmp_path / "out.wav", "is not audio")


def test_a_container_cut_off_before_its_index(clip: Path, tmp_path: Path) -> None:
    ffmpeg("-i", clip, tmp_path / "whole.m4a")
    (tmp_path / "half.m4a").write_bytes((tmp_path / "whole.m4a").read_bytes()[:9000])
    assert_refused(tmp_path / "half.m4a", tmp_path / "out.wav", "is damaged")


def test_a_refused_file_leaves_an_earlier_target_alone(clip: Path, tmp_path: Path) -> None:
    to_wav(clip, tmp_path / "out.wav")
    before = (tmp_path / "out.wav").read_bytes()
    (tmp_path / "bad").write_bytes(b"bad")
    with pytest.raises(AudioUnreadable):
        to_wav(tmp_path / "bad", tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == before


def test_playlists_and_scripts_read_no_other_file(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{clip}\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.txt").write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    for name in ("list.m3u8", "list.txt"):
        assert_refused(tmp_path / name, tmp_path / "out.wav", "is not audio")


def test_a_playlist_reaches_no_network(tmp_path: Path) -> None:
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.mp3"
        (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n")
        (tmp_path / "b.txt").write_text(f"ffconcat version 1.0\nfile '{address}'\n")
        for name in ("a.m3u8", "b.txt"):
            assert_refused(tmp_path / name, tmp_path / "out.wav", "is not audio")
        server.shutdown()
    assert not asked


def test_duration_limit(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioTooLong, match=r"clip.wav is longer than the 4.5 seconds allowed"):
        to_wav(clip, tmp_path / "out.wav", max_seconds=4.5)
    assert not os.listdir(tmp_path)
    assert to_wav(clip, tmp_path / "out.wav", max_seconds=5) == 5.0


def test_a_long_silence_in_a_small_file_is_cut_off_by_the_limit(tmp_path: Path) -> None:
    source, target = tmp_path / "small.flac", tmp_path / "out.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "1800", source)
    with pytest.raises(AudioTooLong):
        to_wav(source, target, max_seconds=60)
    assert not target.exists()


def test_a_decoder_that_hangs_is_ended(tmp_path: Path) -> None:
    source, target = tmp_path / "stalled.wav", tmp_path / "out.wav"
    os.mkfifo(source)
    with open(os.open(source, os.O_RDWR), "wb"), pytest.raises(AudioUnreadable, match=r"took longer than 0.5 seconds"):
        to_wav(source, target, timeout_seconds=0.5)
    assert not list(tmp_path.glob("out*"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        to_wav(tmp_path / "none.wav", tmp_path / "out.wav")
