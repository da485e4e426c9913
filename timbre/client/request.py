"""A request as the client describes it, and how one description serves the blocking and the asynchronous client.

An endpoint is written once, as a function that returns a `Request`; `endpoint` makes a method of it that sends the request:
on a `Client` it returns the answer, on an `AsyncClient` something to await.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

import httpx
from pydantic import TypeAdapter, ValidationError

from timbre.client.errors import ApiError, ConnectionFailed, InvalidValue, RateLimited, Unavailable, UnexpectedAnswer

if TYPE_CHECKING:
    from timbre.client.aio import AsyncClient, AsyncJobHandle
    from timbre.client.blocking import Client, JobHandle

P = ParamSpec("P")
T = TypeVar("T")

_KEY = "Idempotency-Key"

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 8.0
# A server that asks for more patience than this is told to the caller instead.
_PATIENCE_SECONDS = 60.0


def new_key() -> dict[str, str]:
    """Returns headers with a new idempotency key: however often a request arrives with it, it is carried out once."""
    return {_KEY: secrets.token_hex(16)}


@dataclass(frozen=True)
class Request(Generic[T]):
    """What is sent, and what the answer is.

    Attributes:
        method: HTTP method.
        path: Below the server's URL.
        answer: Type of the JSON that comes back.
        params: The query; what is None is left out.
        json: The body; what is None is left out of it.
        timeout_seconds: How long the answer may take; None leaves it to the client.
        headers: Among them, perhaps, an idempotency key (`new_key`).
    """

    method: str
    path: str
    answer: type[T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    timeout_seconds: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice is the same as once."""
        return _KEY in self.headers or self.method in ("GET", "HEAD")

    def once(self) -> Request[T]:
        """Returns the same request with a key of its own, so that it may be sent again until an answer comes."""
        return replace(self, headers=new_key())

    def arguments(self) -> dict[str, Any]:
        """Returns what httpx is called with."""
        arguments: dict[str, Any] = {"params": given(self.params)}
        if self.json is not None:
            arguments["json"] = given(self.json)
        if self.timeout_seconds is not None:
            arguments["timeout"] = self.timeout_seconds
        if self.headers:
            arguments["headers"] = self.headers
        return arguments

    def parse(self, answer: httpx.Response) -> T:
        """Reads an answer; keys that later servers add are passed over.

        Raises:
            UnexpectedAnswer: It is something else.
        """
        try:
            found: T = _adapter(cast("Any", self.answer)).validate_json(answer.content, extra="ignore")
        except ValidationError as error:
            raise UnexpectedAnswer(
                f"{answer.url} answered something that this version of the client does not understand: is it Timbre, and of "
                "the same version?"
            ) from error
        return found


class endpoint(Generic[P, T]):
    """Makes a method that sends what a function describes."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Request[T]]) -> None:
        self._describe = describe
        update_wrapper(self, describe)  # type: ignore[arg-type]  # for help()

    @overload
    def __get__(self, client: None, owner: type) -> endpoint[P, T]: ...

    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        """Returns the function bound to a client."""
        if client is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self._describe(client, *args, **kwargs))

        return update_wrapper(call, self._describe)


class job_endpoint(Generic[P]):
    """The same for requests that start a job: what they return follows it."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Request[Any]]) -> None:
        self._describe = describe
        update_wrapper(self, describe)  # type: ignore[arg-type]

    @overload
    def __get__(self, client: None, owner: type) -> job_endpoint[P]: ...

    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, JobHandle]: ...

    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, Coroutine[Any, Any, AsyncJobHandle]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        """Returns the function bound to a client."""
        if client is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.start(self._describe(client, *args, **kwargs))

        return update_wrapper(call, self._describe)


def pause_before_retry(error: Exception, *, attempt: int, safe: bool) -> float | None:
    """Returns how long to wait before a request is sent again; None when it must not be.

    A request that changes something is sent again only when the server cannot have seen it (no connection came about) or
    refused to look at it (429).

    Args:
        error: What happened.
        attempt: Which attempt that was, from 0.
        safe: Whether sending it twice is the same as once.
    """
    wait = None
    if isinstance(error, ApiError):
        if not isinstance(error, RateLimited) and not (safe and (isinstance(error, Unavailable) or error.status == 502)):
            return None
        wait = error.retry_after_seconds
        if wait is not None and wait > _PATIENCE_SECONDS:
            return None
    elif not isinstance(error, ConnectionFailed) or (
        not safe and not isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
    ):
        return None
    # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    jitter = random.uniform(0, min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS))
    return jitter if wait is None else wait + jitter


@contextmanager
def errors_told(url: httpx.URL) -> Iterator[None]:
    """Turns what httpx raises inside the block into a sentence.

    Raises:
        ConnectionFailed: No answer came.
    """
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ConnectionFailed(f"Timbre cannot be reached at {url} ({error}): is it running there?") from error
    except httpx.TimeoutException as error:
        raise ConnectionFailed(f"Timbre at {url} did not answer in time: try again, or allow more by `timeout`.") from error
    except httpx.RequestError as error:
        raise ConnectionFailed(f"The connection to Timbre at {url} broke ({error}): try again.") from error


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is not None.

    Raises:
        InvalidValue: No request can carry one of them.
    """
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidValue(f"{name} is {value}: it must be a number.")
        if isinstance(value, str) and not value.isascii() and value != value.encode(errors="replace").decode():
            raise InvalidValue(f"{name} holds bytes that are no UTF-8: convert it first.")
    return {name: value for name, value in values.items() if value is not None}


@lru_cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)
