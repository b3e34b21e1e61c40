"""Requests as bytes, cut from one request that the generated code wrote.

A generator shares the machine with the bank it measures. Building a thousand messages in Python costs
it 7 us each, filling in what differs half of one. The generated code stays the authority: a test reads
every request back with it.
"""

from collections.abc import Iterable
from typing import Final

from hivecore.gateway.v1 import bank_pb2

from loadtest.workload import AMOUNT_MINOR_MAX

_ID: Final = "#" * 36
_DEBIT_ACCOUNT: Final = "<" * 16
_CREDIT_ACCOUNT: Final = ">" * 16


class Stencil:
    """Writes requests for transfers of one leg, all in one currency."""

    def __init__(self, currency_code: str) -> None:
        self._patterns = [_pattern(amount, currency_code) for amount in range(AMOUNT_MINOR_MAX + 1)]

    def write(self, transfers: Iterable[tuple[str, str, str, int]]) -> bytes:
        """Write a PostTransfersRequest of (transfer_id, debit account, credit account, amount in minor units).

        Of a single transfer it is a PostTransferRequest as well: the one field has the same number.
        """
        patterns = self._patterns
        return b"".join(
            [
                patterns[amount_minor] % (transfer_id.encode(), debit.encode(), credit.encode())
                for transfer_id, debit, credit, amount_minor in transfers
            ]
        )


def _pattern(amount_minor: int, currency_code: str) -> bytes:
    leg = bank_pb2.Leg(
        debit_account=_DEBIT_ACCOUNT,
        credit_account=_CREDIT_ACCOUNT,
        amount_minor=amount_minor,
        currency_code=currency_code,
    )
    request = bank_pb2.PostTransfersRequest(transfers=[bank_pb2.Transfer(transfer_id=_ID, legs=[leg])])
    pattern = request.SerializeToString(deterministic=True).replace(b"%", b"%%")
    for placeholder in (_ID, _DEBIT_ACCOUNT, _CREDIT_ACCOUNT):
        assert pattern.count(placeholder.encode()) == 1
        pattern = pattern.replace(placeholder.encode(), b"%b")
    return pattern
