from __future__ import annotations

from services.dataset.manifest import Segment
from services.dataset.numbering import NewCut, fingerprint, place


def row(number: int, source: str, start: float, print_: str = "e1|7/12/-40", edited: bool = False) -> Segment:
    return Segment(f"segment_{number:05d}", source, start, start + 8, 8.0, 100, fingerprint=print_, edited=edited)


def cut(source: str, start: float) -> NewCut:
    return NewCut(source, start, start + 8)


def test_sources_keep_their_order_and_new_ones_follow_by_name() -> None:
    old = [row(1, "m", 0), row(2, "m", 8), row(3, "c", 0)]
    places = place(old, {"z": [cut("z", 0)], "a": [cut("a", 0), cut("a", 8)]}, {"z": "e|", "a": "e|"})
    assert [(spot.id, spot.content.source, spot.content.start_s) for spot in places] == [
        ("segment_00001", "m", 0),
        ("segment_00002", "m", 8),
        ("segment_00003", "c", 0),
        ("segment_00004", "a", 0),
        ("segment_00005", "a", 8),
        ("segment_00006", "z", 0),
    ]


def test_other_options_keep_what_is_cut_at_the_same_place() -> None:
    old = [row(1, "m", 0), row(2, "m", 8), row(3, "c", 0)]
    places = place(old, {"m": [cut("m", 0), cut("m", 9), cut("m", 17)]}, {"m": "e1|5/12/-40"})
    assert [spot.content for spot in places] == [old[0], cut("m", 9), cut("m", 17), old[2]]
    assert [spot.id for spot in places] == [f"segment_{n:05d}" for n in (1, 2, 3, 4)]


def test_another_recording_keeps_nothing_but_what_a_person_edited() -> None:
    old = [row(1, "m", 0), row(2, "m", 8, edited=True)]
    places = place(old, {"m": [cut("m", 0), cut("m", 10), cut("m", 18)]}, {"m": "e2|7/12/-40"})
    assert [spot.content for spot in places] == [cut("m", 0), old[1], cut("m", 18)]


def test_fingerprint_tells_recordings_and_options_apart() -> None:
    assert len({fingerprint("a", (7, 12, -40)), fingerprint("b", (7, 12, -40)), fingerprint("a", (7, 11, -40))}) == 3
