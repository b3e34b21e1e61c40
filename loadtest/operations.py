"""What one caller does, as requests: built here once for every generator of the kit.

Pure: chance and the time are passed in. Never here: sending them, and what the answers mean (`client.py`).
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from hivecore.gateway.v1 import bank_pb2

from loadtest.journal import Sent
from loadtest.mix import BALANCE, BATCH, HOLD_AND_CAPTURE, PAYMENT, STATEMENT, TRANSFER, Mix
from loadtest.stencil import Stencil
from loadtest.workload import ID_CHANCE_BITS, Workload, transfer_id

PARTNER_BANK: Final = "LOADTEST"
STATEMENT_PAGE: Final = 25
BATCH_TRANSFERS: Final = 500
HOLD_SECONDS: Final = 3_600


class Call(NamedTuple):
    """One request to the gateway."""

    method: str
    request: Any
    """A message; where a stencil wrote it, its bytes."""
    sent: tuple[Sent, ...] = ()
    """The transfers that it asks for, in order."""

    def written(self) -> bytes:
        """Give the bytes of the request."""
        written: bytes = self.request if isinstance(self.request, bytes) else self.request.SerializeToString()
        return written


class Operation(NamedTuple):
    """Calls that belong together: each is sent when the one before has succeeded."""

    name: str
    calls: tuple[Call, ...]


class Operations:
    """Draws what the callers of a mix do next."""

    def __init__(
        self,
        mix: Mix,
        workload: Workload,
        currency_code: str,
        chance: Random,
        milliseconds: Callable[[], int],
        batch_transfers: int = BATCH_TRANSFERS,
        stencil: Stencil | None = None,
    ) -> None:
        """Prepare to draw; `milliseconds` tells the time since 1970, for ids.

        With a stencil, transfers and batches of them are written as bytes, which costs the generator a fifth.
        """
        self._names = list(mix.weights)
        self._weights = list(mix.weights.values())
        self._workload = workload
        self._currency_code = currency_code
        self._chance = chance
        self._milliseconds = milliseconds
        self._batch_transfers = batch_transfers
        self._stencil = stencil
        self._builders: dict[str, Callable[[], tuple[Call, ...]]] = {
            BALANCE: self._balance,
            STATEMENT: self._statement,
            TRANSFER: self._transfer,
            HOLD_AND_CAPTURE: self._hold_and_capture,
            PAYMENT: self._payment,
            BATCH: self._batch,
        }

    def draw(self) -> Operation:
        """Draw the next operation."""
        name = self._names[0] if len(self._names) == 1 else self._chance.choices(self._names, self._weights)[0]
        return self.build(name)

    def build(self, name: str) -> Operation:
        """Build an operation of the given name."""
        return Operation(name, self._builders[name]())

    def _balance(self) -> tuple[Call, ...]:
        number = self._workload.draw_account()
        return (Call("GetBalance", bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")),)

    def _statement(self) -> tuple[Call, ...]:
        number = self._workload.draw_account()
        return (
            Call("ListEntries", bank_pb2.ListEntriesRequest(parent=f"accounts/{number}", page_size=STATEMENT_PAGE)),
        )

    def _transfer(self) -> tuple[Call, ...]:
        sent = self._next()
        if self._stencil is not None:
            return (Call("PostTransfer", self._stencil.write((sent,)), (sent,)),)
        return (Call("PostTransfer", bank_pb2.PostTransferRequest(transfer=self._write(sent)), (sent,)),)

    def _payment(self) -> tuple[Call, ...]:
        identifier, debit, _, amount_minor = self._next()
        sent = (identifier, debit, f"NOSTRO.{PARTNER_BANK}", amount_minor)
        transfer = self._write(sent)
        transfer.creditor.bank_code = PARTNER_BANK
        transfer.creditor.account = f"{self._chance.getrandbits(60):016x}"
        transfer.creditor.creditor_name = "Load test"
        return (Call("PostTransfer", bank_pb2.PostTransferRequest(transfer=transfer), (sent,)),)

    def _hold_and_capture(self) -> tuple[Call, ...]:
        sent = self._next()
        hold_id = self._id()
        hold = bank_pb2.Hold(
            hold_id=hold_id,
            account=sent[1],
            amount_minor=sent[3],
            currency_code=self._currency_code,
            hold_seconds=HOLD_SECONDS,
        )
        capture = bank_pb2.CaptureHoldRequest(name=f"accounts/{sent[1]}/holds/{hold_id}", transfer=self._write(sent))
        return (
            Call("PlaceHold", bank_pb2.PlaceHoldRequest(hold=hold)),
            Call("CaptureHold", capture, (sent,)),
        )

    def _batch(self) -> tuple[Call, ...]:
        sent = tuple(self._next() for _ in range(self._batch_transfers))
        if self._stencil is not None:
            return (Call("PostTransfers", self._stencil.write(sent), sent),)
        request = bank_pb2.PostTransfersRequest(transfers=[self._write(transfer) for transfer in sent])
        return (Call("PostTransfers", request, sent),)

    def _next(self) -> Sent:
        return self._id(), *self._workload.draw_one()

    def _id(self) -> str:
        return transfer_id(self._milliseconds(), self._chance.getrandbits(ID_CHANCE_BITS))

    def _write(self, sent: Sent) -> bank_pb2.Transfer:
        return write_transfer(sent, self._currency_code)


def write_transfer(sent: Sent, currency_code: str) -> bank_pb2.Transfer:
    """Write a transfer of one leg."""
    identifier, debit, credit, amount_minor = sent
    leg = bank_pb2.Leg(
        debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code=currency_code
    )
    return bank_pb2.Transfer(transfer_id=identifier, legs=[leg])


def alone(call: Call, sent: Sent, currency_code: str) -> tuple[str, bytes]:
    """Give method and request that ask for one of a call's transfers again, by itself."""
    if call.method == "PostTransfers":
        request = bank_pb2.PostTransferRequest(transfer=write_transfer(sent, currency_code))
        return "PostTransfer", request.SerializeToString()
    return call.method, call.written()
