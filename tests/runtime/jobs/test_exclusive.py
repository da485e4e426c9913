"""One at a time, over processes: what is read, changed and written again under the lock of a subject is never lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.runtime.jobs import JobQueue
from services.runtime.locks import Busy

# Adds one to the number in a file, so often; the sleep makes sure that others come in between if they can.
_COUNT = """
import sys, time
from pathlib import Path
from services.runtime.database import connect
from services.runtime.jobs import JobQueue
queue, file = JobQueue(connect(sys.argv[1])), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    with queue.exclusive("datasets/a", 60):
        number = int(file.read_text())
        time.sleep(0.002)
        file.write_text(str(number + 1))
"""
_HOLD = """
import sys, time
from services.runtime.database import connect
from services.runtime.jobs import JobQueue
with JobQueue(connect(sys.argv[1])).exclusive("datasets/a", 60):
    print("held", flush=True)
    time.sleep(600)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def test_processes_and_threads_take_turns(queue: JobQueue, database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "number"
    file.write_text("0")
    others = [start(_COUNT, database_url, file, 40) for _ in range(2)]

    def count() -> None:
        for _ in range(40):
            with queue.exclusive("datasets/a", 60):
                number = int(file.read_text())
                time.sleep(0.002)
                file.write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.communicate(timeout=120)
        assert other.returncode == 0
    assert file.read_text() == "160"


def test_a_killed_holder_holds_nothing(queue: JobQueue, database_url: str) -> None:
    with start(_HOLD, database_url) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match="datasets/a is being changed"), queue.exclusive("datasets/a", 0.05):
            pass
        with queue.exclusive("datasets/b", 0.05):
            pass  # another subject is nobody's
        holder.kill()
    with queue.exclusive("datasets/a", 30):
        pass
    with queue.exclusive("datasets/a", 0.05):
        pass  # given back


def test_an_error_gives_it_back(queue: JobQueue) -> None:
    with pytest.raises(KeyError), queue.exclusive("datasets/a", 1):
        raise KeyError
    with queue.exclusive("datasets/a", 0.05):
        pass


def test_holders_take_nothing_from_the_pool(queue: JobQueue) -> None:
    with ExitStack() as held:  # more than the pool of connections has
        for number in range(20):
            held.enter_context(queue.exclusive(f"datasets/{number}", 1))
        assert queue.find() == []
        with pytest.raises(Busy), queue.exclusive("datasets/0", 0):
            pass
