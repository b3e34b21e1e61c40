"""Asking a service whether it serves (grpc.health.v1)."""

from typing import Final

import grpc
from grpc_health.v1 import health_pb2

CHECK: Final = "/grpc.health.v1.Health/Check"
ANSWER_SECONDS_MAX: Final = 2.0


async def serves(channel: grpc.aio.Channel, service: str = "") -> bool:
    """Whether a service says SERVING now; "" asks for the process as a whole. No answer is a no."""
    check = channel.unary_unary(
        CHECK,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=ANSWER_SECONDS_MAX)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
