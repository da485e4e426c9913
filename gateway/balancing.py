"""How calls find a replica of a service: addresses, balancing, and which calls are tried again at another one.

gRPC itself does all of it (https://grpc.io/docs/guides/service-config/): a channel goes round the replicas that an address
names, passes over those that are away, and repeats what a replica did not live to answer, where the protos say that
repeating does no harm (`idempotency_level`).
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from grpc_health.v1 import health_pb2

_HARMLESS = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)

_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # A replica that is full refused before it began: another one may have room.
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
"""Waits at most 0.7 s in all, longer than a connection to a replica that died takes to break."""


def service_config(services: Iterable[ServiceDescriptor]) -> str:
    """Returns the service config of a channel: round robin, and a retry policy for every method that may be repeated."""
    methods = [method for service in services for method in service.methods if is_repeatable(method)]
    names = [{"service": method.containing_service.full_name, "method": method.name} for method in methods]
    names.append({"service": health_pb2.DESCRIPTOR.services_by_name["Health"].full_name})
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}],
    }
    return json.dumps(config)


def is_repeatable(method: MethodDescriptor) -> bool:
    """Whether calling a method a second time with the same request does no harm, as its proto says."""
    return method.GetOptions().idempotency_level in _HARMLESS


def check_address(address: str) -> str:
    """Returns the address of a service as gRPC names it; a plain list of IP addresses gets its scheme.

    Raises:
        ValueError: It is a list of names, which gRPC cannot resolve.
    """
    first, comma, _ = address.partition(",")
    if not comma or first.startswith(("ipv4:", "ipv6:")):
        return address
    scheme = "ipv6:" if first.startswith("[") else "ipv4:"
    if not all(part and not part.strip("0123456789.:abcdefABCDEF[]") for part in address.split(",")):
        raise ValueError("a list of replicas must name IP addresses; for a name that stands for several use dns:///name:port")
    return f"{scheme}{address}"


async def count_replicas(address: str) -> int:
    """Returns how many replicas an address stands for at the moment, at least 1."""
    if address.startswith(("ipv4:", "ipv6:")):
        return address.count(",") + 1
    host, _, port = address.rpartition("/")[2].removeprefix("dns:").rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:  # then the call itself says what is wrong
        return 1
    return max(1, len({place for *_, place in found}))
