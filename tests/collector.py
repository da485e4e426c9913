"""A collector of OpenTelemetry traces over gRPC, as tests send them to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as collector_grpc


class Collector(collector_grpc.TraceServiceServicer):
    """Keeps every span: process and name to the span."""

    def __init__(self) -> None:
        self.spans: dict[tuple[str, str], Any] = {}

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans |= {(names["service.name"], span.name): span for span in scope.spans}
        return collector.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    """Runs one; yields it and its endpoint."""
    kept, server = Collector(), grpc.aio.server()
    collector_grpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield kept, f"http://127.0.0.1:{port}"
    await server.stop(None)
