"""A dataset too large to make by cutting: a manifest written into the store by hand."""

from __future__ import annotations

import json
import math
import os
import struct
import wave
from pathlib import Path

COUNT = 10_000


def write_large_dataset(root: Path, count: int = COUNT) -> None:
    """Writes a dataset into a folder store: a second of a tone under many names, and a manifest that tells them apart."""
    (root / "segments").mkdir(parents=True)
    first = root / "segments" / "segment_00001.wav"
    with wave.open(str(first), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22050)
        samples = (int(9000 * math.sin(at / 9) * abs(math.sin(at / 3000))) for at in range(22050))
        file.writeframes(b"".join(struct.pack("<h", one) for one in samples))
    rows = []
    for number in range(1, count + 1):
        name = f"segment_{number:05}"
        if number > 1:
            os.link(first, root / "segments" / f"{name}.wav")
        rows.append(
            {
                "id": name,
                "source": f"recording-{number // 500}",
                "start_s": number * 8.0,
                "end_s": number * 8.0 + 3 + number % 9,
                "seconds": 3.0 + number % 9 + (number % 10) / 10,
                "bytes": first.stat().st_size,
                "loudness": -20.0 - (number % 7) / 3,
                "snr_db": 30.0 + number % 20,
                "clipping": 0.0,
                "transcript": f"Esta é a frase de número {number}, dita sem pressa.",
                "normalised": "Esta é a frase, dita sem pressa.",
                "language": "pt",
                "confidence": round(0.4 + (number * 37 % 600) / 1000, 3),
                "flags": ["low_confidence"] if number % 11 == 0 else [],
            }
        )
    (root / "segments.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
