"""Brings edits into the manifest soon after they were made, so that the manifest and `metadata.csv` are never old for long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

from services.dataset import layout
from services.dataset.edits import read_edits
from services.dataset.manifest import prepared_manifest, read_segments
from services.runtime.jobs import JobQueue
from services.runtime.store import ObjectStore

logger = logging.getLogger(__name__)

# An editor who types goes on within this time; one who never rests waits no longer than the other.
_QUIET_SECONDS = 2.0
_LONGEST_SECONDS = 30.0
# What cannot be folded is tried again after the quiet time, then after twice that, and so on up to this.
_LONGEST_PAUSE_SECONDS = 60.0
# A job that merges takes the edits in itself; other datasets need not wait for it.
_LOCK_SECONDS = 1.0


class Folding:
    """Takes the edits of datasets into their manifests, in the background.

    Args:
        store: The object store.
        queue: For the locks of the datasets.
        quiet_seconds: How long a dataset must have been left alone.
    """

    def __init__(self, store: ObjectStore, queue: JobQueue, quiet_seconds: float = _QUIET_SECONDS) -> None:
        self._store, self._queue, self._quiet = store, queue, quiet_seconds
        self._due: dict[str, tuple[float, float]] = {}
        self._wanted = asyncio.Event()

    def soon(self, folder: str) -> None:
        """Says that a dataset was edited."""
        now = time.monotonic()
        _, latest = self._due.get(folder, (0.0, now + _LONGEST_SECONDS))
        self._put_off(folder, min(now + self._quiet, latest), latest)

    async def run(self) -> None:
        """Works until it is cancelled, whatever fails meanwhile; what a service that was killed has left is done, too."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._find_left_over())
            both.create_task(self._fold_due())

    async def _find_left_over(self) -> None:
        for pause in self._pauses():
            try:
                for folder in await asyncio.to_thread(_left_over, self._store):
                    self.soon(folder)
                return
            except Exception:
                logger.warning("edits that were left could not be looked for; again in %.1f s", pause, exc_info=True)
            await asyncio.sleep(pause)

    async def _fold_due(self) -> None:
        pauses: dict[str, Iterator[float]] = {}
        while True:
            await self._wanted.wait()
            folder, (at, _) = min(self._due.items(), key=lambda item: item[1])
            if (wait := at - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, self._quiet))
                continue
            del self._due[folder]
            if not self._due:
                self._wanted.clear()
            try:
                await asyncio.to_thread(fold, self._store, self._queue, folder)
                pauses.pop(folder, None)
            except Exception:
                # A store or database that is away, or a dataset that cannot be read: the others must not suffer for it.
                pause = next(pauses.setdefault(folder, self._pauses()))
                logger.warning("the edits of %s are not in its manifest yet; again in %.1f s", folder, pause, exc_info=True)
                if folder not in self._due:  # else somebody edits it at this moment
                    self._put_off(folder, time.monotonic() + pause, time.monotonic() + max(pause, _LONGEST_SECONDS))

    def _put_off(self, folder: str, at: float, latest: float) -> None:
        self._due[folder] = (at, latest)
        self._wanted.set()

    def _pauses(self) -> Iterator[float]:
        """Goes on forever: how long to wait after the first failure, after the second, and so on."""
        pause = self._quiet
        while True:
            yield pause
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def fold(store: ObjectStore, queue: JobQueue, folder: str) -> None:
    """Takes the edits of a dataset into its manifest.

    The rows are put together before the lock is taken, so that editors wait for the writing only. When somebody else has
    written the manifest meanwhile, that took the edits in as well.
    """
    before = store.stat(layout.manifest_key(folder))
    edits = read_edits(store, folder)
    if before is None or not edits.rows or edits.closed_by:
        return
    with prepared_manifest(store, folder, read_segments(store, folder)) as write, queue.exclusive(folder, _LOCK_SECONDS):
        now = store.stat(layout.manifest_key(folder))
        if now and now.etag == before.etag and not read_edits(store, folder).closed_by:
            write()


def _left_over(store: ObjectStore) -> list[str]:
    return [folder for folder in layout.folders(store) if store.stat(layout.edits_key(folder))]
