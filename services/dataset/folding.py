"""Brings edits into the manifest soon after they were made, so that the manifest and `metadata.csv` are never old for long."""

from __future__ import annotations

import asyncio
import logging
import time

from services.dataset import layout
from services.dataset.edits import read_edits
from services.dataset.manifest import prepared_manifest, read_segments
from services.runtime.errors import Unavailable
from services.runtime.jobs import JobQueue
from services.runtime.store import ObjectStore

logger = logging.getLogger(__name__)

# An editor who types goes on within this time; one who never rests waits no longer than the other.
_QUIET_SECONDS = 2.0
_LONGEST_SECONDS = 30.0


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
        self._due[folder] = (min(now + self._quiet, latest), latest)
        self._wanted.set()

    async def run(self) -> None:
        """Works until it is cancelled. First come the edits that a service that was killed has left."""
        for folder in await asyncio.to_thread(_left_over, self._store):
            self.soon(folder)
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
            except Unavailable:
                logger.warning("the edits of %s could not be written into its manifest; trying again", folder, exc_info=True)
                self.soon(folder)


def fold(store: ObjectStore, queue: JobQueue, folder: str) -> None:
    """Takes the edits of a dataset into its manifest.

    The rows are put together before the lock is taken, so that editors wait for the writing only. When somebody else has
    written the manifest meanwhile, that took the edits in as well.
    """
    before = store.stat(layout.manifest_key(folder))
    edits = read_edits(store, folder)
    if before is None or not edits.rows or edits.closed_by:
        return
    with prepared_manifest(store, folder, read_segments(store, folder)) as write, queue.exclusive(folder):
        now = store.stat(layout.manifest_key(folder))
        if now and now.etag == before.etag and not read_edits(store, folder).closed_by:
            write()


def _left_over(store: ObjectStore) -> list[str]:
    return [folder for folder in layout.folders(store) if store.stat(layout.edits_key(folder))]
