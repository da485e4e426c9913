"""Folders of uploads on the local disk: one of a process that was killed is removed, one that is in use is not."""

from __future__ import annotations

from pathlib import Path

from services.dataset.receive import scratch_for_uploads


async def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "uploads" / "tmp_left"
    left.mkdir(parents=True)
    (left / "upload").write_bytes(b"half")
    async with scratch_for_uploads(tmp_path) as first:
        assert not left.exists()
        async with scratch_for_uploads(tmp_path) as second:
            assert first.exists()
            assert second.exists()
    assert not any((tmp_path / "uploads").iterdir())
