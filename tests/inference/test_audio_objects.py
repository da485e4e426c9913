from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import soundfile as sf

from services.inference.audio_objects import store_together, to_wav
from services.runtime.folder_store import FolderStore

TONE = (0.5 * np.sin(np.arange(22_050) / 10)).astype(np.float32)


def test_a_wav_is_mono_16_bit_at_its_rate() -> None:
    with sf.SoundFile(io.BytesIO(to_wav(TONE, 22_050))) as file:
        assert (file.samplerate, file.channels, file.subtype, file.frames) == (22_050, 1, "PCM_16", 22_050)
        np.testing.assert_allclose(file.read(dtype="float32"), TONE, atol=1e-4)


def test_files_of_one_request_share_their_stamp_and_replace_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    made = [store_together(store, {"ab_test/base": TONE, "ab_test/finetuned": TONE * 0}, 22_050) for _ in range(8)]
    keys = [key for pair in made for key in pair]
    assert len({*keys}) == 16
    for base, finetuned in made:
        stamp = re.fullmatch(r"ab_test/base_(\d{8}_\d{6}(?:_[0-9a-f]{6})?)\.wav", base)
        assert stamp is not None
        assert finetuned == f"ab_test/finetuned_{stamp[1]}.wav"
        assert store.get(base) != store.get(finetuned)
    assert [info.key for info in store.list("ab_test/")] == sorted(keys)


def test_a_half_taken_stamp_leaves_nothing_behind(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first = store_together(store, {"ab_test/base": TONE, "ab_test/finetuned": TONE}, 22_050)
    store.delete(first[0])
    second = store_together(store, {"ab_test/base": TONE, "ab_test/finetuned": TONE}, 22_050)
    assert {info.key for info in store.list("ab_test/")} == {first[1], *second}


def test_names_sort_by_time_within_a_second_and_from_one_to_the_next(tmp_path: Path) -> None:
    store, made = FolderStore(tmp_path), list[str]()
    while len({key.removesuffix(".wav")[:35] for key in made}) < 3:  # inference/inference_20251206_143000
        made += store_together(store, {"inference/inference": TONE[:100]}, 22_050)
    names = [key.removesuffix(".wav") for key in made]
    assert len(names) > 10
    assert names == sorted(names)
