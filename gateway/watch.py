"""Following jobs: one stream from the services for each job, shared by everybody who watches it.

A feed keeps what came last, and watchers keep their own place in it. One that falls behind what the feed still has reads
the log up to the present and goes on from there; so memory is bounded, nobody waits for a slow reader, and no line is
lost or doubled. When a service goes away, the feed takes up its stream again where it broke off.

The stream is opened with the token of one of the watchers. One that a service refuses costs its owners their place, and the
next one is tried; nobody listens for longer than their own token counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
from timbre.jobs.v1 import jobs_pb2

from gateway.backends import Backends, CallFailed, call_metadata
from services.runtime.auth import authorization, caller
from services.runtime.errors import ResourceExhausted

logger = logging.getLogger("timbre.gateway")

_KEPT_LINES = 1000
_KEPT_JOBS = 1000
_SHOWN_JOBS = 50  # who begins to watch all jobs is first told of the newest ones
_RETRY_SECONDS = 1.0
FeedT = TypeVar("FeedT", bound="Feed")
_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_ENDED = (jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_STOPPED)


@dataclass(frozen=True)
class Change:
    """What a watcher is told.

    Attributes:
        job: The job as it stands now, when it changed.
        lines: New lines of its log, in order.
        ended: Whether this is the last there is to tell.
    """

    job: jobs_pb2.Job | None = None
    lines: tuple[jobs_pb2.LogLine, ...] = ()
    ended: bool = False


@dataclass(eq=False, slots=True)
class Watcher:
    """Somebody who watches a feed.

    Attributes:
        authorization: Their token, as it came.
        until: When it has expired, in seconds since 1970.
        refused: Whether a service takes it no more.
    """

    authorization: str
    until: float
    refused: bool = False

    def may_listen(self) -> bool:
        """Whether there is more to tell them."""
        return not self.refused and time.time() < self.until

    def at_most(self, seconds: float) -> float:
        """Returns how long to wait for news for them."""
        return min(seconds, self.until - time.time())


class JobGone(Exception):
    """The job that is watched does not exist any more."""


class TokenRefused(Exception):
    """A service does not take the token that a stream was to be opened with."""


class Feed(ABC):
    """A stream of a jobs service that is read as long as somebody watches."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.watchers: dict[Watcher, None] = {}  # in the order in which they came
        self.version = 0
        self.over = False

    def start(self) -> None:
        """Begins to read."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends, and sends the watchers home."""
        self.over = True
        self._announce()
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, version: int, timeout: float) -> bool:
        """Waits until there is something newer than a version, or the feed is over; False when nothing came in time."""
        return self.version != version or self.over or await _happens(self._changed, timeout)

    @abstractmethod
    async def _catch_up(self) -> None:
        """Finds out what the stream will not tell, before it is opened."""

    @abstractmethod
    def _stream(self, stub: Any) -> Any:
        """Opens the stream, from where the last one broke off."""

    @abstractmethod
    def _take(self, message: Any) -> None:
        """Keeps what a message of the stream says."""

    @abstractmethod
    def complete(self) -> bool:
        """Whether nothing more can come."""

    def _announce(self) -> None:
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        try:
            while self.watchers and not self.complete():
                token = next(reversed(self.watchers)).authorization  # whoever came last has it for the longest, most often
                try:
                    await self._read_once(token)
                except TokenRefused:
                    self._send_home(token)
                    continue
                if not self.complete():
                    await asyncio.sleep(_RETRY_SECONDS)
        except JobGone:
            logger.info("a job that is watched has gone")
        finally:
            self.over = True
            self._announce()

    async def _read_once(self, token: str) -> None:
        """Reads the stream until it ends or breaks, from the first service that can be reached."""
        authorization.set(token)
        for stub in self._backends.jobs:
            try:
                await self._catch_up()
                async for message in self._stream(stub):
                    self._take(message)
                    self._announce()
                return
            except (CallFailed, grpc.aio.AioRpcError) as failed:
                code = (failed.error if isinstance(failed, CallFailed) else failed).code()
                if code is grpc.StatusCode.NOT_FOUND:
                    raise JobGone from failed
                logger.info("a stream of job events broke off (%s); taking it up again", code.name)
                if code in _REFUSED:
                    raise TokenRefused from failed

    def _send_home(self, token: str) -> None:
        """Ends what is told to those who have a token. When they come again, they hear what is wrong with it."""
        for watcher in [one for one in self.watchers if one.authorization == token]:
            watcher.refused = True
            del self.watchers[watcher]
        self._announce()


class JobFeed(Feed):
    """One job and its log."""

    def __init__(self, backends: Backends, job_id: str) -> None:
        super().__init__(backends)
        self.job_id = job_id
        self.job: jobs_pb2.Job | None = None
        self.job_version = 0
        self.lines: deque[jobs_pb2.LogLine] = deque()
        self.dropped = 0  # lines up to this sequence are not kept here
        self._newest = 0
        self._started = False

    async def _catch_up(self) -> None:
        if self._started:  # the stream itself goes on after the newest line
            return
        request = jobs_pb2.GetJobLogRequest(job_id=self.job_id, tail_count=1)
        tail = await self._backends.call_jobs("GetJobLog", request)
        self._newest = self.dropped = tail.lines[-1].sequence if tail.lines else 0
        self._started = True

    def _stream(self, stub: Any) -> Any:
        request = jobs_pb2.WatchJobRequest(job_id=self.job_id, after_sequence=self._newest)
        return stub.WatchJob(request, metadata=call_metadata())

    def _take(self, message: jobs_pb2.WatchJobResponse) -> None:
        if message.HasField("job") and message.job != self.job:  # a heartbeat alone is no news
            self.job = message.job
            self.job_version = self.version + 1
        for line in message.lines:
            self._newest = line.sequence
            if len(self.lines) == _KEPT_LINES:
                self.dropped = self.lines.popleft().sequence
            self.lines.append(line)

    def complete(self) -> bool:
        """Whether the job has ended, and with it its log."""
        return self.job is not None and self.job.state in _ENDED


class AllJobsFeed(Feed):
    """The newest jobs, and every job that changes."""

    def __init__(self, backends: Backends) -> None:
        super().__init__(backends)
        self.jobs: OrderedDict[str, tuple[int, jobs_pb2.Job]] = OrderedDict()  # by id: version and job, oldest change first

    async def _catch_up(self) -> None:
        newest = await self._backends.call_jobs("ListJobs", jobs_pb2.ListJobsRequest(limit=_SHOWN_JOBS))
        for job in reversed(newest.jobs):
            self._take(jobs_pb2.WatchJobsResponse(job=job))
        self._announce()

    def _stream(self, stub: Any) -> Any:
        return stub.WatchJobs(jobs_pb2.WatchJobsRequest(), metadata=call_metadata())

    def _take(self, message: jobs_pb2.WatchJobsResponse) -> None:
        _, known = self.jobs.get(message.job.id, (0, None))
        if message.job == known:  # a heartbeat alone is no news
            return
        self.jobs[message.job.id] = (self.version + 1, message.job)
        self.jobs.move_to_end(message.job.id)
        if len(self.jobs) > _KEPT_JOBS:
            self.jobs.popitem(last=False)

    def complete(self) -> bool:
        """Never: there are always more jobs to come."""
        return False


class Hub:
    """The feeds there are, and who watches them.

    Args:
        backends: The services.
        most: How many may watch at once.
    """

    def __init__(self, backends: Backends, most: int = 2000) -> None:
        self._backends, self._most = backends, most
        self._feeds: dict[str, Feed] = {}
        self._closing = False

    def check_room(self) -> None:
        """Raises ResourceExhausted when as many watch as may."""
        if sum(len(feed.watchers) for feed in self._feeds.values()) >= self._most:
            raise ResourceExhausted(
                "Too many follow jobs here at once: try again later, or ask for the job itself.", retry_after_seconds=5
            )

    async def follow_job(self, job_id: str, after: int, heartbeat: float) -> AsyncIterator[Change | None]:
        """Yields what happens to a job, from its present state on, until it has ended, or the caller's token has expired.

        Args:
            job_id: Its id.
            after: Log lines with a larger sequence are told; 0 means the whole log.
            heartbeat: When nothing happens for so many seconds, None is yielded.
        """
        async with self._watch(job_id, lambda: JobFeed(self._backends, job_id)) as (feed, watcher):
            told = -1
            while watcher.may_listen():
                version, over = feed.version, feed.over
                lines = await self._lines_after(feed, after) if feed.job else ()  # a job is told before its log
                after = lines[-1].sequence if lines else after
                job = feed.job if feed.job_version > told else None
                told = feed.job_version
                if job or lines:
                    yield Change(job, lines)
                if over:
                    if feed.complete():
                        yield Change(feed.job, ended=True)
                    return
                if not await feed.wait(version, watcher.at_most(heartbeat)):
                    yield None

    async def follow_all(self, heartbeat: float) -> AsyncIterator[Change | None]:
        """Yields the newest jobs, oldest first, then every job that changes, until the caller's token has expired.

        Args:
            heartbeat: When nothing happens for so many seconds, None is yielded.
        """
        async with self._watch("", lambda: AllJobsFeed(self._backends)) as (feed, watcher):
            told = -1
            while watcher.may_listen() and not feed.over:
                version = feed.version
                for changed_at, job in list(feed.jobs.values()):
                    if changed_at > told:
                        yield Change(job)
                told = version
                if not await feed.wait(version, watcher.at_most(heartbeat)):
                    yield None

    async def close(self) -> None:
        """Ends all feeds; whoever watches is told that this is all."""
        self._closing = True
        await asyncio.gather(*(feed.stop() for feed in list(self._feeds.values())))

    @asynccontextmanager
    async def _watch(self, name: str, make: Callable[[], FeedT]) -> AsyncIterator[tuple[FeedT, Watcher]]:
        feed = cast("FeedT | None", self._feeds.get(name))
        if feed is None or (feed.over and not feed.complete()):  # nobody was left whose token it could have gone on with
            feed = make()
        watcher = Watcher(authorization.get(), caller.get().until)
        feed.watchers[watcher] = None
        if self._closing:
            await feed.stop()
        elif self._feeds.get(name) is not feed:
            self._feeds[name] = feed
            feed.start()
        try:
            yield feed, watcher
        finally:
            feed.watchers.pop(watcher, None)
            if not feed.watchers and self._feeds.get(name) is feed:
                del self._feeds[name]
                await feed.stop()

    async def _lines_after(self, feed: JobFeed, after: int) -> tuple[jobs_pb2.LogLine, ...]:
        if after >= feed.dropped:
            return tuple(line for line in feed.lines if line.sequence > after)
        request = jobs_pb2.GetJobLogRequest(job_id=feed.job_id, after_sequence=after)
        with suppress(CallFailed):  # then the next change, or heartbeat, is the occasion to ask again
            return tuple((await self._backends.call_jobs("GetJobLog", request)).lines)
        return ()


async def _happens(event: asyncio.Event, timeout: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout)
        return True
    return False
