"""A process for the tests of the cache: `python fetching_process.py FOLDER LIMIT LOG NAME SIZE PACE [hold]`.

It takes a copy of SIZE bytes, fetched in blocks with a pause of PACE seconds after each, checks it, and appends a line to LOG
for every fetch it begins, ends, and every copy it uses. With `hold` it keeps the copy until its input ends.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from services.runtime.files import write_atomically
from services.runtime.node_cache import NodeCache

BLOCK = 1 << 14


class Slow:
    """The content, which comes in blocks."""

    def __init__(self, name: str, size: int, pace: float) -> None:
        self.block, self.left, self.pace = (name.encode() * BLOCK)[:BLOCK], size, pace

    def read(self, _: int = -1) -> bytes:
        time.sleep(self.pace)
        block = self.block[: min(BLOCK, self.left)]
        self.left -= len(block)
        return block


def main() -> None:
    folder, limit, log, name, size, pace, *rest = sys.argv[1:]

    def note(what: str) -> None:
        with open(log, "a") as file:
            file.write(f"{what} {name} {os.getpid()}\n")

    def fetch(path: Path) -> None:
        note("begin")
        write_atomically(path, Slow(name, int(size), float(pace)))  # type: ignore[arg-type]
        note("end")

    with NodeCache(Path(folder), int(limit)).hold(name, int(size), fetch) as path:
        content = path.read_bytes()
        assert len(content) == int(size), (len(content), size)
        assert content[:BLOCK] == Slow(name, int(size), 0).read()
        note("use")
        if rest:
            print("holding", flush=True)
            sys.stdin.read()
            assert path.read_bytes() == content


if __name__ == "__main__":
    main()
