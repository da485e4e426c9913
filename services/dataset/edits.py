"""What people changed in a dataset since its manifest was last written: `edits.json`, laid over the manifest by every reader.

A manifest of 10,000 rows has 4 MB, too much to be written anew for every word that an editor corrects. So an edit goes into
this small object, and some seconds later (`services.dataset.folding`), or with the next job that writes the manifest, into
the manifest. How that stays safe with several editors, jobs and replicas, over a store without conditional writes:

- Whoever changes the manifest or the edits holds the lock of the dataset (`JobQueue.exclusive`) from reading to writing. So
  editors of two rows both win, and a job that worked for an hour merges what it made into what is there by then.
- Readers take no lock. They read the edits before the manifest, and a row counts how often a person changed it: an edit is
  laid over a row only if its count is higher. So it does no harm when an edit is read, or after a kill still lies here,
  that the manifest has taken in already.
- An edit belongs to a stretch of a recording, not to a number: cutting the dataset anew moves numbers.
- While segments get other numbers, the edits are closed: a kill in the middle leaves some of the audio moved and some not,
  and nobody may edit before the job, or the next one of its kind, has brought that to its end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json

from services.dataset.layout import edits_key
from services.runtime.errors import Unavailable
from services.runtime.store import ObjectNotFound, ObjectStore

if TYPE_CHECKING:
    from services.dataset.manifest import Segment

Stretch: TypeAlias = tuple[str, str, float, float]
"""What a segment is, whatever its number: source, etag of the recording, and where it begins and ends in it, in seconds."""

# What an edit says of a row; all else is the audio's.
_FIELDS = ("transcript", "normalised", "language", "confidence", "flags", "excluded", "edited", "edits")


class DatasetClosed(Unavailable):
    """The segments are getting other numbers."""

    def __init__(self, folder: str, job_id: str) -> None:
        super().__init__(
            f"The segments of {folder} are getting other numbers by job {job_id}: wait until it has ended, or segment the "
            "dataset again if it failed.",
            metadata={"job_id": job_id},
        )


@dataclass(frozen=True)
class Edits:
    """The edits of a dataset.

    Attributes:
        rows: By stretch, the fields of its row as a person left them.
        closed_by: The job that gives segments other numbers; empty when none does.
        digest: Of the object as it was read; empty when there was none.
    """

    rows: Mapping[Stretch, Mapping[str, Any]] = field(default_factory=dict)
    closed_by: str = ""
    digest: str = ""

    def over(self, row: Segment) -> Segment:
        """Returns a row of the manifest with what a person changed in it since."""
        edit = self.rows.get(row.stretch) if self.rows else None
        return replace(row, **edit) if edit and edit["edits"] > row.edits else row

    def with_rows(self, rows: Sequence[Segment]) -> Edits:
        """Returns the edits with these rows as a person left them."""
        new = {row.stretch: {name: getattr(row, name) for name in _FIELDS} for row in rows}
        return replace(self, rows={**self.rows, **new})

    def without(self, rows: Sequence[Segment]) -> Edits:
        """Returns the edits that a manifest of these rows has not taken in, where it has a row for them at all."""
        counts = {row.stretch: row.edits for row in rows} if self.rows else {}
        left = {stretch: edit for stretch, edit in self.rows.items() if edit["edits"] > counts.get(stretch, edit["edits"])}
        return replace(self, rows=left)


def read_edits(store: ObjectStore, folder: str) -> Edits:
    """Returns the edits of a dataset."""
    try:
        content = store.get(edits_key(folder))
    except ObjectNotFound:
        return Edits()
    kept = from_json(content)
    rows = {tuple(edit["stretch"]): {name: edit[name] for name in _FIELDS} for edit in kept["rows"]}
    return Edits(rows, kept["closed_by"], hashlib.blake2b(content, digest_size=8).hexdigest())


def write_edits(store: ObjectStore, folder: str, edits: Edits) -> None:
    """Replaces the edits of a dataset; the caller holds its lock."""
    if not edits.rows and not edits.closed_by:
        store.delete(edits_key(folder))
        return
    rows = [{"stretch": stretch, **edit} for stretch, edit in edits.rows.items()]
    content = json.dumps({"closed_by": edits.closed_by, "rows": rows}, ensure_ascii=False, separators=(",", ":"))
    store.put(edits_key(folder), content.encode(), "application/json")
