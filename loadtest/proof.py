"""Whether there may be a figure at all: only when the books prove sound after the load.

Never here: how the audit works; it is asked through the command line, transfers through the gateway.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc
from hivecore.gateway.v1 import bank_pb2

from loadtest import bank
from loadtest.client import Access, Client


class NotSound(Exception):
    """The books are not as they must be; the message is the evidence."""


def require_sound(data: Path, access: Access, acknowledged: Sequence[tuple[str, str]]) -> None:
    """Audit the bank that is open in `data`, and ask it for acknowledged transfers. Raises NotSound.

    A transfer is given as its debit account and its transfer_id.
    """
    status, said, complaint = bank.hivecore("audit", "--data", str(data), "--json")
    if status != 0:
        raise NotSound(f"the audit is not clean:\n{said}{complaint}")
    lost = asyncio.run(_not_in_the_books(access, acknowledged))
    if lost:
        raise NotSound("acknowledged, and not in the books:\n" + "\n".join(lost))


async def _not_in_the_books(access: Access, acknowledged: Sequence[tuple[str, str]]) -> list[str]:
    """Name the transfers that the bank does not know as POSTED."""
    lost = []
    async with Client(access) as client:
        for account, identifier in acknowledged:
            name = f"accounts/{account}/transfers/{identifier}"
            try:
                transfer = await client.call(client.stub.GetTransfer, bank_pb2.GetTransferRequest(name=name))
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                lost.append(name)
            else:
                if transfer.state != bank_pb2.Transfer.POSTED:
                    lost.append(name)
    return lost
