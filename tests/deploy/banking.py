"""A little banking through a gateway's public API. Not a test itself."""

from typing import Any
from uuid import uuid4

from grpc.aio import Channel
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc


async def move_money(channel: Channel, token: str) -> None:
    """Open two customers with an account each, which lie on different shards, and let money pass between them."""
    stub: Any = bank_pb2_grpc.BankStub(channel)
    metadata = (("authorization", f"Bearer {token}"),)
    accounts = []
    for _ in range(2):
        opened = await stub.OpenCustomer(
            bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer()), metadata=metadata, timeout=20
        )
        account = bank.Account(customer=opened.name, currency_code="CZK")
        request = bank.OpenAccountRequest(request_id=str(uuid4()), account=account)
        accounts.append((await stub.OpenAccount(request, metadata=metadata, timeout=20)).account_number)
    for debit, credit in (("CASH", accounts[0]), accounts):
        leg = bank.Leg(debit_account=debit, credit_account=credit, amount_minor=100, currency_code="CZK")
        transfer = bank.Transfer(transfer_id=str(uuid4()), legs=[leg])
        posted = await stub.PostTransfer(bank.PostTransferRequest(transfer=transfer), metadata=metadata, timeout=20)
        assert posted.state == bank.Transfer.POSTED
