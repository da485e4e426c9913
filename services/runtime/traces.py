"""Traces of requests through the processes, from HTTP over gRPC into a job's worker; off until `start` is given an endpoint.

The place in a trace travels as W3C `traceparent` text (https://www.w3.org/TR/trace-context/): in HTTP headers, in gRPC
metadata, in a job's row. OpenTelemetry is loaded by `start` alone.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
"""Header, and metadata key."""

current: contextvars.ContextVar[str] = contextvars.ContextVar("traceparent", default="")
"""The place in the trace of what runs now; empty when nothing is traced."""

_provider: TracerProvider | None = None


def start(endpoint: str, process: str) -> None:
    """Sends the spans of this process to a collector from now on, in the background; what is left goes out at its end.

    Args:
        endpoint: Of an OTLP collector over gRPC, `http://host:4317`. Empty: nothing is traced.
        process: What the traces call this process, e.g. `trainer`.
    """
    global _provider  # a process has one
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _provider = TracerProvider(resource=Resource.create({"service.name": f"timbre.{process}"}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"))))


def stop() -> None:
    """Sends what is left; nothing is traced any more."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
    _provider = None


def begin(name: str, parent: str = "") -> Span | None:
    """Begins a span, and makes it the current one of this context; None when nothing is traced.

    Args:
        name: What is done, in few different words.
        parent: The `traceparent` that came with the request; anything else begins a trace of its own.
    """
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    span = _provider.get_tracer("timbre").start_span(name, propagator.extract({TRACEPARENT: parent}))
    place = span.get_span_context()
    current.set(f"00-{place.trace_id:032x}-{place.span_id:016x}-{place.trace_flags:02x}")
    return span
