"""The head of a request: what gRPC makes of its fields, with as little work per call as they allow.

Requests of one caller mostly begin alike: that is read once, and of each request only the rest. Pure. Never here: fields
as bytes (`fields.py`), or what methods there are.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from services.transport.fields import Fields, Metadata, Unsound, value_of

REMEMBERED_TIMEOUTS_MAX: Final = 1_024

TIMEOUT_UNITS: Final = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(r"[0-9]{1,8}[HMSmun]")
_OF_THE_PROTOCOL: Final = frozenset({"te", "grpc-accept-encoding", "content-type", "grpc-encoding", "grpc-timeout"})


class RequestHead(NamedTuple):
    """What the fields of a request say."""

    path: str
    seconds: float | None
    """Until the caller's deadline; None without one."""
    encoding: str
    """Of compressed messages."""
    metadata: Metadata


def request_head(fields: Fields) -> RequestHead:
    """Read a request's fields, the same ones only once. Raises Unsound."""
    if fields.head is None:
        fields.head = _continued(fields) or _whole(fields)
    return fields.head


def _continued(fields: Fields) -> RequestHead | None:
    """Go on from what the request began with, where that is one by itself and only its time and metadata follow."""
    begun = fields.begun
    if begun is None or not _is_request(begun):
        return None
    path, seconds, encoding, metadata = request_head(begun)
    further: list[tuple[str, str | bytes]] = []
    timeout = None
    for name, value in fields[len(begun) :]:
        if name == "grpc-timeout":
            timeout = value
        elif name[0] == ":" or name in _OF_THE_PROTOCOL:
            return None
        else:
            further.append((name, value_of(name, value)))
    if timeout is not None:
        seconds = seconds_of(timeout)
    return RequestHead(path, seconds, encoding, (*metadata, *further))


def _is_request(fields: Fields) -> bool:
    if fields.is_request is None:
        try:
            request_head(fields)
        except Unsound:
            fields.is_request = False
        else:
            fields.is_request = True
    return fields.is_request


def _whole(fields: Fields) -> RequestHead:
    pseudo: dict[str, str] = {}
    protocol: dict[str, str] = {}
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name[0] == ":":
            if protocol or metadata or name in pseudo:
                raise Unsound
            pseudo[name] = value
        elif name in _OF_THE_PROTOCOL:
            protocol[name] = value
        else:
            metadata.append((name, value_of(name, value)))
    if pseudo.get(":method") != "POST" or not protocol.get("content-type", "").startswith("application/grpc"):
        raise Unsound
    if ":path" not in pseudo or ":scheme" not in pseudo:
        raise Unsound
    timeout = protocol.get("grpc-timeout")
    return RequestHead(
        pseudo[":path"],
        None if timeout is None else seconds_of(timeout),
        protocol.get("grpc-encoding", "identity"),
        tuple(metadata),
    )


@lru_cache(REMEMBERED_TIMEOUTS_MAX)
def seconds_of(timeout: str) -> float:
    """Read a timeout as gRPC writes it. Raises Unsound."""
    if not _TIMEOUT.fullmatch(timeout):
        raise Unsound
    return int(timeout[:-1]) * TIMEOUT_UNITS[timeout[-1]]


def timeout_of(seconds: float) -> str:
    """Write a timeout, rounded up, in few enough digits."""
    milliseconds = max(0, -int(-seconds * 1_000 // 1))
    return f"{milliseconds}m" if milliseconds < 10**8 else f"{min(milliseconds // 1_000, 10**8 - 1)}S"
