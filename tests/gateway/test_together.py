"""What several requests ask a service at the same moment, it is asked once."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from timbre.trainer.v1 import trainer_pb2

from gateway.backends import CallFailed
from services.runtime.auth import authorization

pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUEST = trainer_pb2.GetTrainingMetricsRequest


async def ask(stack: Any, model_name: str = "voice", token: str = "") -> str:
    """What the trainer answers, as the gateway asks it for a request with a token."""
    backends = stack.server.config.app.state.backends
    authorization.set(token)
    return (await backends.call(backends.trainer.GetTrainingMetrics, REQUEST(model_name=model_name))).model_name


async def echo(request: Any, _context: Any) -> Any:
    return trainer_pb2.GetTrainingMetricsResponse(model_name=request.model_name)


async def test_one_call_for_all_who_ask_the_same(stack: Any) -> None:
    stack.answer(GetTrainingMetrics=echo)
    names = ["a", "b"] * 20
    assert await asyncio.gather(*(ask(stack, name) for name in names)) == names
    assert sorted(request.model_name for request in stack.script.requests["GetTrainingMetrics"]) == ["a", "b"]


async def test_nobody_gets_what_was_asked_with_another_token(stack: Any) -> None:
    stack.answer(GetTrainingMetrics=echo)
    await asyncio.gather(*(ask(stack, token=f"Bearer {number}") for number in (1, 2, 1, 2, 3)))
    assert len(stack.script.requests["GetTrainingMetrics"]) == 3


async def test_nobody_gets_an_answer_older_than_the_question(stack: Any) -> None:
    """What is under way may have been read before a change that the next one who asks has made."""
    arrived, answered = asyncio.Event(), asyncio.Event()
    epochs = iter(range(1, 9))

    async def slow(_request: Any, _context: Any) -> Any:
        found = next(epochs)
        arrived.set()
        await answered.wait()
        return trainer_pb2.GetTrainingMetricsResponse(model_name=str(found))

    stack.answer(GetTrainingMetrics=slow)
    first = asyncio.create_task(ask(stack))
    await arrived.wait()
    later = asyncio.create_task(ask(stack))
    await asyncio.sleep(0.05)
    answered.set()
    assert (await first, await later) == ("1", "2")


async def test_one_who_hangs_up_takes_it_from_nobody(stack: Any) -> None:
    arrived, answered = asyncio.Event(), asyncio.Event()

    async def slow(request: Any, context: Any) -> Any:
        arrived.set()
        await answered.wait()
        return await echo(request, context)

    stack.answer(GetTrainingMetrics=slow)
    asking = [asyncio.create_task(ask(stack)) for _ in range(3)]
    await arrived.wait()
    asking[0].cancel()
    answered.set()
    assert await asyncio.gather(*asking[1:]) == ["voice", "voice"]
    with pytest.raises(asyncio.CancelledError):
        await asking[0]


async def test_an_error_is_told_to_everybody(stack: Any) -> None:
    async def refuse(_request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such model.")

    stack.answer(GetTrainingMetrics=refuse)
    told = await asyncio.gather(*(ask(stack) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(one, CallFailed) and one.error.details() == "There is no such model." for one in told)
    assert len(stack.script.requests["GetTrainingMetrics"]) == 1
    stack.answer(GetTrainingMetrics=echo)
    assert await ask(stack) == "voice"  # and nothing of it stays


async def test_a_change_is_made_as_often_as_it_is_asked_for(stack: Any) -> None:
    stack.answer(StopTraining=trainer_pb2.StopTrainingResponse())
    await asyncio.gather(*(stack.client.post("/training/stop") for _ in range(5)))
    assert len(stack.script.requests["StopTraining"]) == 5
