"""The cache of a node, by several real processes at once, and by processes that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.runtime.node_cache import NodeCache

PROGRAM = Path(__file__).parent / "fetching_process.py"
KIB = 1 << 10


class Node:
    """A cache folder, and processes that use it."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit, self.log = folder / "cache", limit, folder / "log"

    def start(self, name: str, size: int, pace: float = 0.0, *rest: str) -> subprocess.Popen[bytes]:
        arguments = [str(self.folder), str(self.limit), str(self.log), name, str(size), str(pace), *rest]
        pipe = subprocess.PIPE if rest else subprocess.DEVNULL
        return subprocess.Popen([sys.executable, str(PROGRAM), *arguments], stdin=pipe, stdout=pipe)

    @contextmanager
    def holding(self, name: str, size: int) -> Iterator[None]:
        with self.start(name, size, 0.0, "hold") as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"holding\n"
            yield
            process.stdin.close()
            assert process.wait(60) == 0

    def use(self, name: str, size: int) -> None:
        """Uses a copy in this process."""
        with NodeCache(self.folder, self.limit).hold(name, size, lambda path: path.write_bytes(b"x" * size)):
            pass

    def copies(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if path.suffix == "" and not path.name.startswith(".")}

    def counts(self, what: str) -> Counter[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.split()[1] for line in lines if line.split()[0] == what)


@pytest.fixture
def node(tmp_path: Path) -> Callable[[int], Node]:
    return lambda limit: Node(tmp_path, limit)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_of_processes_at_once_one_fetches(node: Callable[[int], Node]) -> None:
    cache = node(10_000 * KIB)
    processes = [cache.start(name, 400 * KIB, 0.01) for name in ("a", "b") for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 8
    assert cache.counts("begin") == {"a": 1, "b": 1}
    assert cache.counts("use") == {"a": 4, "b": 4}
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a", "b", "room.lock"]


def test_what_a_killed_process_had_fetched_is_not_taken_for_whole(node: Callable[[int], Node]) -> None:
    cache = node(10_000 * KIB)
    with cache.start("a", 1000 * KIB, 0.02) as doomed:
        until(lambda: any(path.stat().st_size > 200 * KIB for path in cache.folder.glob(".a.*")))
        waiting = [cache.start("a", 1000 * KIB) for _ in range(3)]
        time.sleep(0.2)
        doomed.send_signal(signal.SIGKILL)
    assert [process.wait(60) for process in waiting] == [0] * 3
    assert cache.counts("begin") == {"a": 2}
    assert cache.counts("end") == {"a": 1}
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a", "room.lock"]


def test_what_dead_processes_left_behind_makes_room(node: Callable[[int], Node]) -> None:
    cache = node(1500 * KIB)
    with cache.start("dead", 1000 * KIB, 0.02) as doomed:
        until(lambda: any(path.stat().st_size > 200 * KIB for path in cache.folder.glob(".dead.*")))
        doomed.kill()
    cache.use("kept", 400 * KIB)
    cache.use("new", 1000 * KIB)  # there is room for both without the dead one
    assert sorted(path.name for path in cache.folder.iterdir()) == ["kept", "new", "room.lock"]


def test_the_least_recently_used_go_by_bytes(node: Callable[[int], Node]) -> None:
    cache = node(1000)
    for age, name in enumerate("abcd"):
        cache.use(name, 200)
        os.utime(cache.folder / name, (1000 + age, 1000 + age))
    cache.use("a", 200)  # now the youngest
    cache.use("big", 500)
    assert cache.copies() == {"a", "d", "big"}
    cache.use("huge", 900)
    assert cache.copies() == {"huge"}


def test_what_a_process_holds_stays(node: Callable[[int], Node]) -> None:
    cache = node(1000)
    with cache.holding("held", 600):
        os.utime(cache.folder / "held", (1000, 1000))
        cache.use("a", 300)
        cache.use("b", 700)  # more than there is room for: what is in use goes before the limit
        assert cache.copies() == {"held", "b"}
    cache.use("c", 200)
    assert cache.copies() == {"b", "c"}


def test_room_is_counted_for_what_is_still_on_its_way(node: Callable[[int], Node]) -> None:
    cache = node(1500 * KIB)
    cache.use("old", 400 * KIB)
    with cache.start("coming", 1000 * KIB, 0.02) as process:
        until(lambda: cache.counts("begin"))
        cache.use("new", 400 * KIB)
        assert "old" not in cache.copies()
        assert process.wait(60) == 0
    assert cache.copies() == {"coming", "new"}


def test_a_fetch_that_fails_leaves_nothing_and_is_tried_by_the_next(node: Callable[[int], Node]) -> None:
    cache = node(1000)

    def fail(path: Path) -> None:
        path.with_name(f".{path.name}.part").write_bytes(b"half")
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError), NodeCache(cache.folder, 1000).hold("a", 100, fail):
        pass
    assert cache.copies() == set()
    cache.use("a", 100)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a", "room.lock"]


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a.want"])
def test_names_are_plain(node: Callable[[int], Node], name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        node(1000).use(name, 1)


def test_killed_at_random_nothing_is_ever_wrong(node: Callable[[int], Node]) -> None:
    """Processes check what they get; each name has its own content and size, and not all have room."""
    cache = node(600 * KIB)
    chance = random.Random(11)
    sizes = {name: (100 + 50 * number) * KIB for number, name in enumerate("abcde")}
    running: list[tuple[subprocess.Popen[bytes], bool]] = []
    for _ in range(24):
        name = chance.choice("abcde")
        running.append((cache.start(name, sizes[name], 0.01), chance.random() < 0.4))
        time.sleep(chance.random() * 0.1)
        for process, doomed in running:
            if doomed and process.poll() is None and chance.random() < 0.5:
                process.kill()
    codes = [(process.wait(60), doomed) for process, doomed in running]
    assert all(code == 0 or (doomed and code == -signal.SIGKILL) for code, doomed in codes), codes
    cache.use("last", 1)
    left = {path.name: path.stat().st_size for path in cache.folder.iterdir() if path.name != "room.lock"}
    assert sum(left.values()) <= cache.limit
    assert left.keys() <= {*sizes, "last"}
    assert all(left[name] == sizes[name] for name in left if name != "last")
