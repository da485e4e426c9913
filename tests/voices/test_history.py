from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.runtime.errors import InvalidArgument
from services.runtime.folder_store import FolderStore
from services.voices.history import Utterance, UtteranceNotFound, forget, list_utterances, newest_of_models, remember

OURS = "train/output/ours/checkpoints/checkpoint_epoch_10.pth"
LATER = "train/output/ours/checkpoints/checkpoint_epoch_20.pth"
THEIRS = "train/output/theirs/checkpoints/checkpoint_epoch_10.pth"


class CountingStore(FolderStore):
    """Counts the objects that are read."""

    reads = 0

    def get(self, key: str) -> bytes:
        self.reads += 1
        return super().get(key)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path)


def say(store: FolderStore, ago: timedelta = timedelta(), checkpoint: str = OURS, token: str = "") -> Utterance:
    moment = datetime.now(UTC) - ago
    name = f"inference_{moment:%Y%m%d_%H%M%S}{token}"
    said = Utterance(name, "Olá.", checkpoint, 0.7, 1.0, "pt", "", 7, 1.5, 0.4, moment.timestamp())
    store.put(said.audio_key, b"RIFF")
    remember(store, said)
    return said


def test_the_newest_come_first_page_by_page(store: CountingStore) -> None:
    said = [say(store, timedelta(hours=hours)) for hours in range(40, 0, -1)]
    first = list_utterances(store, limit=15)
    assert first == said[:-16:-1]
    second = list_utterances(store, limit=15, before=first[-1].id)
    third = list_utterances(store, limit=15, before=second[-1].id)
    assert [*first, *second, *third] == said[::-1]
    assert list_utterances(store, before=third[-1].id) == []


def test_a_page_reads_only_what_is_on_it(store: CountingStore) -> None:
    for second in range(200):
        say(store, timedelta(seconds=second), checkpoint=THEIRS if second else OURS)
    store.reads = 0
    assert len(list_utterances(store, limit=10)) == 10
    assert len(list_utterances(store, checkpoint=OURS, limit=10)) == 1
    assert store.reads == 11


def test_what_lies_far_back_is_found(store: CountingStore) -> None:
    old = [say(store, timedelta(days=days)) for days in (900, 300, 20, 3)]
    assert list_utterances(store, limit=4) == old[::-1]
    assert list_utterances(store, limit=1) == old[-1:]


def test_two_of_one_second_have_an_order(store: CountingStore) -> None:
    said = [say(store, token=token) for token in ("", "_0a0a0a", "_ffffff")]
    first = list_utterances(store, limit=2)
    assert [*first, *list_utterances(store, before=first[-1].id)] == said[::-1]


def test_one_checkpoints_own(store: CountingStore) -> None:
    ours, later, theirs = (say(store, checkpoint=c, token=t) for c, t in ((OURS, ""), (LATER, "_00000a"), (THEIRS, "_00000b")))
    base = say(store, checkpoint="base", token="_00000c")
    assert list_utterances(store, checkpoint=OURS) == [ours]
    assert list_utterances(store, checkpoint="base") == [base]
    assert newest_of_models(store, ["ours", "theirs", "silent"]) == {"ours": later, "theirs": theirs}


def test_a_deleted_one_is_gone_with_its_audio(store: CountingStore) -> None:
    say(store, token="_00000a")
    other = say(store, token="")
    forget(store, f"{other.id}_00000a")
    assert [info.key for info in store.list("inference/") if info.key.endswith(".wav")] == [other.audio_key]
    assert list_utterances(store) == [other]
    for name in (f"{other.id}_00000a", "inference_", "", "../x", f"{other.id}.", "comparison_20251206_143000"):
        with pytest.raises(UtteranceNotFound):
            forget(store, name)


def test_audio_without_a_history_can_be_deleted(store: CountingStore) -> None:
    store.put("inference/inference_20251206_143000.wav", b"RIFF")
    forget(store, "inference_20251206_143000")
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("options", "field"), [({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"before": "x"}, "before")]
)
def test_odd_pages_are_refused(store: CountingStore, options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field}"):
        list_utterances(store, **options)  # type: ignore[arg-type]


def test_a_time_that_is_none_is_refused(store: CountingStore) -> None:
    with pytest.raises(InvalidArgument, match="no time"):
        list_utterances(store, before="inference_20259999_999999")


def test_keeping_is_whole_or_not_at_all(store: CountingStore) -> None:
    """Audio whose writer died before it said what it was is no part of the history."""
    store.put(f"inference/inference_{datetime.now(UTC):%Y%m%d_%H%M%S}_abcdef.wav", b"RIFF")
    assert list_utterances(store) == []
