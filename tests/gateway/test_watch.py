"""Who may go on watching: a stream of events lasts as long as the token it was asked for with, and no token harms another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio
from timbre.jobs.v1 import jobs_pb2 as pb

from services.runtime.settings import RuntimeSettings
from tests.gateway.test_jobs import Ledger, collect, follow, texts

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "a secret of the tests, well over 32 bytes long"
EVENTS = "/training/jobs/job_1/events"
LIFE = 4  # seconds of a token that expires: long enough to begin with it on a busy machine


def bearer(subject: str, seconds: float) -> str:
    claims = {"sub": subject, "iss": "timbre", "aud": "timbre", "exp": time.time() + seconds, "scope": "training"}
    return f"Bearer {jwt.encode(claims, SECRET)}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lenient(start_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """A gateway that takes a token for a minute longer than the services behind it do."""
    locks = {"auth": "jwt", "jwt_secret": SECRET}
    services = RuntimeSettings(data_dir=tmp_path_factory.mktemp("services"), jwt_leeway_seconds=0, **locks)
    async with start_stack(service_auth=services, jwt_leeway_seconds=60, event_comment_seconds=0.2, **locks) as stack:
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def exact(start_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    locks = {"auth": "jwt", "jwt_secret": SECRET, "jwt_leeway_seconds": 0}
    services = RuntimeSettings(data_dir=tmp_path_factory.mktemp("services"), **locks)
    async with start_stack(service_auth=services, event_comment_seconds=0.2, **locks) as stack:
        yield stack


async def break_off(ledger: Ledger) -> None:
    """Ends the stream from the service; the feed takes it up again at the other one."""
    ledger.break_off = True
    await ledger.change(lines=1)
    async with asyncio.timeout(5):
        while ledger.break_off:
            await asyncio.sleep(0.01)


async def test_a_token_that_has_expired_silences_nobody_else(lenient: Any) -> None:
    ledger = Ledger()
    lenient.answer(**ledger.answers())
    stays, goes = bearer("stays", 600), [bearer(f"goes {number}", LIFE) for number in range(3)]
    expired = time.time() + LIFE
    async with follow(lenient.client, EVENTS, Authorization=stays) as events:
        await collect(events, until="job")
        others = [asyncio.create_task(follow_to_the_end(lenient, header)) for header in goes]
        others.append(asyncio.create_task(follow_to_the_end(lenient, goes[0])))
        while watchers(lenient) < 5:
            await asyncio.sleep(0.01)
        assert ledger.opened == 1
        await asyncio.sleep(expired - time.time() + 0.1)
        await break_off(ledger)
        await break_off(ledger)  # there, too: only now another token is tried
        found = await asyncio.wait_for(asyncio.gather(*others), 10)
        assert all(kind != "end" for told in found for kind, _ in told)
        await ledger.change(state=pb.JOB_STATE_SUCCEEDED, lines=1)
        told = await collect(events)
    assert texts(told) == [1, 2, 3]
    assert told[-1] == ("end", {"state": "succeeded"})
    assert ledger.opened == 3
    answer = await lenient.client.get(EVENTS, headers={"Authorization": goes[0]})
    assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_EXPIRED"), "what they hear who come again"


async def test_a_feed_ends_when_no_token_is_left_and_begins_anew(lenient: Any) -> None:
    ledger = Ledger()
    lenient.answer(**ledger.answers())
    expired = time.time() + LIFE
    async with follow(lenient.client, EVENTS, Authorization=bearer("goes", LIFE)) as events:
        await collect(events, until="job")
        await asyncio.sleep(expired - time.time() + 0.1)
        await break_off(ledger)
        assert "end" not in dict(await collect(events))
    assert not watchers(lenient)
    async with follow(lenient.client, EVENTS, Authorization=bearer("comes", 600)) as events:
        await ledger.change(state=pb.JOB_STATE_STOPPED, lines=1)
        assert texts(await collect(events)) == [1, 2]


@pytest.mark.parametrize("path", [EVENTS, "/training/events"])
async def test_a_stream_ends_with_its_token(exact: Any, path: str) -> None:
    ledger = Ledger()

    async def watch_all(request: Any, context: Any) -> AsyncIterator[pb.WatchJobsResponse]:
        while True:
            yield pb.WatchJobsResponse(job=ledger.job)
            async with ledger.changed:
                await ledger.changed.wait()

    exact.answer(**ledger.answers(), ListJobs=pb.ListJobsResponse(), WatchJobs=watch_all)
    expires = time.time() + LIFE
    async with follow(exact.client, path, Authorization=bearer("stays", 600)) as events:
        await collect(events, until="job")
        async with follow(exact.client, path, Authorization=bearer("goes", LIFE)) as short:
            told = await collect(short)
            assert time.time() >= int(expires)
        assert [kind for kind, _ in told] == ["job"], "no end, as the job goes on"
        await ledger.change(state=pb.JOB_STATE_SUCCEEDED, lines=1)
        found = await collect(events, until="job" if path == "/training/events" else "end")
    assert found[0][1]["state"] == "succeeded"


async def follow_to_the_end(stack: Any, header: str) -> list[tuple[str, Any]]:
    async with follow(stack.client, EVENTS, Authorization=header) as events:
        return await collect(events)


def watchers(stack: Any) -> int:
    return sum(len(feed.watchers) for feed in stack.server.config.app.state.hub._feeds.values())
