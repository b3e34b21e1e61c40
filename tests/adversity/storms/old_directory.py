"""An account service that is right about everything but the directory: it gives an old one, with shards where they were not.

Everything else it passes on, byte for byte, to the real one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import grpc
from hivecore.account.v1 import account_pb2, account_pb2_grpc

from services.chassis import children
from services.cli import channels

SERVICE = account_pb2.DESCRIPTOR.services_by_name["Accounts"].full_name
DEADLINE_SECONDS = 5.0
ANSWERS_SECONDS_MAX = 30.0


class OldDirectory(grpc.GenericRpcHandler):
    """Serves for the length of its context at `address`."""

    def __init__(self, account: str) -> None:
        self._account = account
        self.address = ""
        self.asked = 0
        """How often the old directory was given."""

    async def __aenter__(self) -> Self:
        self._channel = channels.channel(self._account)
        self._old = outdated(await self._true())
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)
        await self._channel.close()

    async def _true(self) -> account_pb2.Directory:
        """Ask for the directory until there is one: another fault may keep the account service from its database."""
        stub = account_pb2_grpc.AccountsStub(self._channel)
        async with asyncio.timeout(ANSWERS_SECONDS_MAX):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    return await stub.GetDirectory(
                        account_pb2.GetDirectoryRequest(), timeout=DEADLINE_SECONDS, wait_for_ready=True
                    )
                await asyncio.sleep(children.POLL_SECONDS)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Answer one method, by its name."""
        if details.method == f"/{SERVICE}/GetDirectory":
            return grpc.unary_unary_rpc_method_handler(self._give)
        return grpc.unary_unary_rpc_method_handler(self._pass_on(details.method))

    async def _give(self, _: bytes, __: Any) -> bytes:
        self.asked += 1
        return self._old.SerializeToString()

    def _pass_on(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def pass_on(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                call = self._channel.unary_unary(method)
                return await call(request, timeout=context.time_remaining(), metadata=context.invocation_metadata())
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                await context.abort(error.code(), error.details() or "")

        return pass_on


def outdated(true: account_pb2.Directory) -> account_pb2.Directory:
    """Make of a directory one that came before it and said that the shards' ledgers are each other's."""
    old = account_pb2.Directory()
    old.CopyFrom(true)
    old.version = max(true.version - 1, 0)
    addresses = [list(shard.ledger_addresses) for shard in true.shards]
    for shard, others in zip(old.shards, addresses[1:] + addresses[:1], strict=True):
        shard.ledger_addresses[:] = others
    return old
