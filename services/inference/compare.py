"""How near synthetic speech comes to a voice: two scores, each from 0 to 100, computed from audio.

`speaker_similarity` asks the model's own speaker encoder who is speaking. `mfcc_score` needs no model: it compares how the
sound is made up, frame by frame. Both compare with recordings of the voice that training did not see, which say
something else than the synthetic speech does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

SAMPLE_RATE_HERTZ = 22_050
"""Of everything that is compared."""

COEFFICIENTS = 13
"""Cepstral coefficients 1 to 13, as in most work on speaker recognition; the 0th, the loudness, is left out."""

MFCC_D0 = 2.5
"""The distance at which `mfcc_score` has fallen to 100/e = 37.

Chosen on real speech (12 recordings of LJ Speech, the three Brazilian ones of falabrasil/ufpalign, jfk.flac; every pair
says different texts): within a speaker the distance is 1.0 to 1.5 (5th to 95th percentile; median 1.13), between speakers
1.6 to 2.9 (median 1.95), and to white noise, brown noise or a tone 9 to 160. That makes scores of about 64 for the same
speaker, 46 for another one, and 3 at most for what is no speech. The same text in the same voice comes out higher, up to
100 for the same audio.
"""

_FFT_SAMPLES, _HOP_SAMPLES, _MEL_BANDS = 1_024, 256, 64
_LOWEST_HERTZ, _HIGHEST_HERTZ = 50.0, 7_600.0

_DYNAMIC_RANGE_DB = 60.0
"""Of the spectrogram below its peak: what lies lower is room and recorder, not voice."""

_SPEECH_RANGE_DB = 40.0
"""Frames this far below the loudest one are pauses, and are left out."""

_MIN_SPREAD = 1.0
"""Floor, in dB, of a coefficient's standard deviation: a steady tone has none."""

MAX_SECONDS = 30.0
"""Speech beyond this is not looked at: it bounds the alignment at 2,600 × 2,600 frames, 54 MB, and adds nothing."""


def speaker_similarity(embedding: npt.ArrayLike, voice_embeddings: Sequence[npt.ArrayLike]) -> float:
    """Returns 100 × the cosine between a speaker embedding and the centroid of those of a voice, 0 for opposed ones.

    Args:
        embedding: Of the speech that is judged; any shape, any length but 0.
        voice_embeddings: Of recordings of the voice, each of the same size; at least one.

    Raises:
        ValueError: No recordings, or sizes differ.
    """
    if not voice_embeddings:
        raise ValueError("at least one recording of the voice is needed")
    centroid = np.mean([_unit(vector) for vector in voice_embeddings], axis=0)
    cosine = float(np.dot(_unit(embedding), _unit(centroid)))
    return 100.0 * min(1.0, max(0.0, cosine))


def mfcc_score(speech: Samples, recordings: Sequence[Samples]) -> float:
    """Returns 100 × exp(−d/d0), d being the median `mfcc_distance` to the recordings and d0 `MFCC_D0`.

    Args:
        speech: What is judged, 22,050 Hz.
        recordings: Of the voice, 22,050 Hz; at least one.

    Returns:
        100 for the same audio; 0 when one of them is silent.

    Raises:
        ValueError: No recordings.
    """
    if not recordings:
        raise ValueError("at least one recording of the voice is needed")
    distance = float(np.median([mfcc_distance(speech, recording) for recording in recordings]))
    return min(100.0, 100.0 * float(np.exp(-distance / MFCC_D0)))


def mfcc_distance(a: Samples, b: Samples) -> float:
    """Returns the distance of two stretches of speech: the mean squared difference of their aligned MFCCs.

    The frames of both are aligned by dynamic time warping. Each coefficient is measured in units of the smaller of its two
    standard deviations: so the distance within a voice comes out near 1 whatever it says, an offset (another timbre)
    counts by how much of the voice's own variation it is, and a hum or hiss, which hardly varies, is far from any speech.
    The means are not subtracted, as is done to recognise words: they are what tells one voice from another.

    Args:
        a: 22,050 Hz.
        b: 22,050 Hz.

    Returns:
        0 for the same audio, whatever its loudness; infinity when one of them is silent.
    """
    left, right = _mfcc(a), _mfcc(b)
    if not len(left) or not len(right):
        return float("inf")
    spread = np.maximum(np.minimum(left.std(axis=0), right.std(axis=0)), _MIN_SPREAD)
    return _warped_distance(left / spread, right / spread)


def _unit(vector: npt.ArrayLike) -> npt.NDArray[np.float64]:
    flat = np.asarray(vector, dtype=np.float64).ravel()
    norm = np.linalg.norm(flat)
    return flat if norm == 0 else np.asarray(flat / norm)


def _mfcc(samples: Samples) -> Matrix:
    """Returns the coefficients of the frames that hold speech, shape [frames, COEFFICIENTS]; none for silence."""
    import librosa

    samples = samples[: round(MAX_SECONDS * SAMPLE_RATE_HERTZ)]
    if not np.any(samples):
        return np.zeros((0, COEFFICIENTS))
    power = librosa.feature.melspectrogram(
        y=samples.astype(np.float64),
        sr=SAMPLE_RATE_HERTZ,
        n_fft=_FFT_SAMPLES,
        hop_length=_HOP_SAMPLES,
        n_mels=_MEL_BANDS,
        fmin=_LOWEST_HERTZ,
        fmax=_HIGHEST_HERTZ,
    )
    loudness = power.sum(axis=0)
    holds_speech = loudness > loudness.max() * 10 ** (-_SPEECH_RANGE_DB / 10)
    decibels = librosa.power_to_db(power, ref=np.max, amin=1e-20, top_db=_DYNAMIC_RANGE_DB)
    coefficients = librosa.feature.mfcc(S=decibels, n_mfcc=COEFFICIENTS + 1)[1:, holds_speech]
    return np.asarray(coefficients.T, dtype=np.float64)


def _warped_distance(a: Matrix, b: Matrix) -> float:
    """Aligns two sequences and returns the mean squared difference of a coefficient along the alignment.

    It is the symmetric form of Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition"
    (1978): a step in both counts twice, so every alignment has the same total weight, the sum of both lengths.

    Args:
        a: Shape [n, coefficients].
        b: Shape [m, coefficients].
    """
    n, m = len(a), len(b)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    cost = np.maximum(squares, 0.0) / a.shape[1]
    # One diagonal of the table after the other, each indexed by the position in a; entry (0, 0) is the first of them.
    before, last = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    last[0] = 0.0
    for diagonal in range(1, n + m + 1):
        now = np.full(n + 1, np.inf)
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        if len(i):
            step = cost[i - 1, diagonal - i - 1]
            now[i] = np.minimum(np.minimum(last[i - 1], last[i]) + step, before[i - 1] + 2.0 * step)
        before, last = last, now
    return float(last[n] / (n + m))
