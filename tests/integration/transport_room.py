"""A server of the transport's for tests: methods that do what requests ask of them."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from services.chassis import bounds
from services.transport.calls import Call, Method, Places, Refusal
from services.transport.server import Server

PATH = "/test.Room/Call"
STREAM = "/test.Room/Stream"
COUNTED = "/test.Room/Counted"
IN_TURN = "/test.Room/InTurn"
WORK_SECONDS = 0.01
"""Of processor time, for which a call that asks for it keeps the loop from everything else."""
TURN_SECONDS_MAX = 0.1
FULL = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
MESSAGE_BYTES_MAX = bounds.server_limits().message_bytes_max


class Door:
    """A behaviour that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def wait(self) -> None:
        """Wait, and count those who do and those who were stopped."""
        self.waiting += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    async def answer(self, request: bytes | None, _call: Any) -> bytes:
        """Repeat the request once the door is open."""
        await self.wait()
        return request or b""


class Room(Door):
    """Methods that do what tests ask of them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[str, str | bytes], ...]] = []
        self.places = Places()
        """Of the calls of `COUNTED`, of which there are two at a time."""
        self.server: Server | None = None
        self.worked = 0

    def no_place(self) -> Refusal | None:
        """Refuse a third."""
        return FULL if self.places.taken >= 2 else None

    def no_turn(self) -> Refusal | None:
        """Refuse whose turn would not come soon."""
        assert self.server is not None
        return FULL if self.server.seconds_to_turn() > TURN_SECONDS_MAX else None

    async def answer(self, request: bytes | None, call: Call) -> bytes:
        """Repeat the request; wait, abort or answer at length where it says so."""
        self.seen.append(call.invocation_metadata())
        if request is None:
            return b"nothing"
        if request == b"wait":
            await self.wait()
        if request == b"work":
            self.worked += 1
            enough = time.thread_time() + WORK_SECONDS
            while time.thread_time() < enough:
                pass
        if request == b"abort":
            await call.abort(
                grpc.StatusCode.OUT_OF_RANGE, "příliš % daleko\n", (("why-bin", b"\x00\xff"), ("why", "x"))
            )
        if request.startswith(b"long "):
            return b"x" * int(request[5:])
        if request == b"fail":
            raise ValueError("secret")
        return request

    async def stream(self, call: Call) -> None:
        """Repeat every message."""
        while (message := await call.read()) is not None:
            await call.write(message)


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[str, Room]]:
    """Serve a room for the length of a test."""
    room = Room()
    server = Server(dataclasses.replace(bounds.server_limits(), **limits), bounds.REFUSALS)
    server.methods[PATH] = Method(room.answer)
    server.methods[STREAM] = Method(stream=room.stream)
    server.methods["/test.Room/Full"] = Method(room.answer, refuses=lambda: FULL)
    server.methods[COUNTED] = Method(room.answer, refuses=room.no_place, places=room.places)
    server.methods[IN_TURN] = Method(room.answer, refuses=room.no_turn)
    room.server = server
    port = server.bind("127.0.0.1", 0)
    server.start()
    try:
        yield f"127.0.0.1:{port}", room
    finally:
        room.open.set()
        await server.stop(5.0)


async def until(condition: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def answers(address: str) -> None:
    """Make sure that others are answered."""
    async with grpc.aio.insecure_channel(address) as channel:
        assert await channel.unary_unary(PATH)(b"hello", timeout=20) == b"hello"
