"""Many transfers through the gateway, each until it has its outcome.

Never here: where the transfers come from (`importing.py`, `paying.py`).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from hivecore.gateway.v1 import bank_pb2

from services.cli import bulk
from services.cli.bulk import Done, No, Undecided
from services.cli.session import BULK_DEADLINE_SECONDS, Session, answer_of

Source = TypeVar("Source")


async def post(
    bank: Session,
    items: Sequence[tuple[Source, bank_pb2.Transfer]],
    key: Callable[[Source], object],
    record: Callable[[Source, Done[None] | No | Undecided], None],
) -> None:
    """Post all transfers and record one answer for each source.

    Those with one `key` are sent in the order given. Raises `BankError` when the bank refuses the
    calls themselves.
    """

    async def send(batch: Sequence[tuple[Source, bank_pb2.Transfer]]) -> list[Done[None] | No | Undecided]:
        request = bank_pb2.PostTransfersRequest(transfers=[transfer for _, transfer in batch])
        response = await bank.call(bank.stub.PostTransfers, request, deadline_seconds=BULK_DEADLINE_SECONDS)
        return [_answer(result) for result in response.results]

    await bulk.settle(
        bulk.deal(items, key=lambda item: key(item[0])),
        send,
        lambda item, answer: record(item[0], answer),
        weigh=lambda item: item[1].ByteSize() + 4,
    )


def _answer(result: bank_pb2.TransferResult) -> Done[None] | No | Undecided:
    """Read one transfer's result."""
    match result.state:
        case bank_pb2.Transfer.POSTED:
            return Done(None)
        case bank_pb2.Transfer.REFUSED | bank_pb2.Transfer.RETURNED:
            return No(result.reason, result.reason.lower().replace("_", " "))
        case bank_pb2.Transfer.IN_TRANSIT:
            return Undecided("IN_TRANSIT", "debited; the payee's shard has not answered yet")
        case _:
            return answer_of(result.error)
