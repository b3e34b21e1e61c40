"""Channels of grpc's own, for who calls a bank from outside: the command line, tools and tests.

Never here: how services call each other (`chassis/clients.py`), what is asked.
"""

import json
from typing import Final

import grpc

from services.chassis import clients
from services.domain import limits

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", round(clients.KEEPALIVE_SECONDS * 1000)),
    ("grpc.keepalive_timeout_ms", round(clients.KEEPALIVE_ANSWER_SECONDS * 1000)),
    ("grpc.http2.ping_timeout_ms", round(clients.KEEPALIVE_ANSWER_SECONDS * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
)


def channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Open a channel of grpc's own to host:port (or dns:///name:port).

    In plain text without credentials; connects when first used. Made inside the running event loop; close it when done.
    """
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
