"""Locust users of the public door: each opens an account, then pays the others and looks at its balance.

    locust -f loadtest/locustfile.py --headless -u 20 -t 10s [--bank-data DIR]

With --bank-data it finds the bank that is open in that directory; without, it takes the gateway of
--host (that of `hivecore up` when not given) and a token of this user's own bank. Locust shows how users
fare; what the bank can do at most is measured by `baseline.py`, whose client costs a fraction of this.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any, ClassVar, Final, NoReturn
from uuid import uuid4

import grpc
from grpc.experimental import gevent as grpc_gevent
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc
from locust import User, between, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest import bank
from loadtest.bank import BankFailed
from loadtest.client import CHANNEL_OPTIONS, DEADLINE_SECONDS, Access, outcome_of_failure
from loadtest.workload import AMOUNT_MINOR_MAX, transfer_id

# Before the first channel: gRPC's own threads would stop gevent's loop.
grpc_gevent.init_gevent()

GATEWAY_DEFAULT: Final = "127.0.0.1:50051"
CURRENCY: Final = "CZK"
FUNDING_MINOR: Final = 10_000_00

_chance = SystemRandom()


class CallFailed(Exception):
    """Shown in locust's table of failures: the status and the bank's reason."""


def add_options(parser: Any) -> None:
    """Add this test's own options to locust's."""
    parser.add_argument("--bank-data", default="", help="data directory of a bank that is open on this machine")


def find_bank(environment: Environment, **_: Any) -> None:
    """Find the gateway and a token, once for all users of this process; end it when there is no bank."""
    data = environment.parsed_options.bank_data if environment.parsed_options else ""
    host = environment.host or GATEWAY_DEFAULT
    try:
        Customer.access = bank.access(Path(data)) if data else Access(host, bank.mint_token(None))
    except BankFailed as error:
        sys.exit(str(error))


class Customer(User):
    """A customer with one account."""

    wait_time = between(0.01, 0.05)
    accounts: ClassVar[list[str]] = []
    """Of all users of this process."""
    access: ClassVar[Access]

    def __init__(self, environment: Environment) -> None:
        """Dial; the connection is made by the first call."""
        super().__init__(environment)
        self.account = ""
        self._channel = grpc.insecure_channel(self.access.gateway, options=CHANNEL_OPTIONS)
        self._stub: Any = bank_pb2_grpc.BankStub(self._channel)

    def on_start(self) -> None:
        """Open an account and pay cash into it."""
        request = bank_pb2.OpenCustomerRequest(request_id=str(uuid4()), customer=bank_pb2.Customer())
        customer = self._call("OpenCustomer", request) or self._leave()
        wanted = bank_pb2.Account(customer=customer.name, currency_code=CURRENCY)
        opening = bank_pb2.OpenAccountRequest(request_id=str(uuid4()), account=wanted)
        self.account = (self._call("OpenAccount", opening) or self._leave()).account_number
        self._pay("CASH", self.account, FUNDING_MINOR)
        self.accounts.append(self.account)

    def on_stop(self) -> None:
        """Hang up."""
        self._channel.close()

    @task(4)
    def pay(self) -> None:
        """Pay a small amount to another customer."""
        payee = _chance.choice(self.accounts)
        if payee != self.account:
            self._pay(self.account, payee, _chance.randint(1, AMOUNT_MINOR_MAX))

    @task(1)
    def look(self) -> None:
        """Read the balance."""
        self._call("GetBalance", bank_pb2.GetBalanceRequest(name=f"accounts/{self.account}/balance"))

    def _leave(self) -> NoReturn:
        raise StopUser

    def _pay(self, debit: str, credit: str, amount_minor: int) -> None:
        identifier = transfer_id(time.time_ns() // 1_000_000, _chance.getrandbits(74))
        leg = bank_pb2.Leg(
            debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code=CURRENCY
        )
        transfer = bank_pb2.Transfer(transfer_id=identifier, legs=[leg])
        self._call("PostTransfer", bank_pb2.PostTransferRequest(transfer=transfer))

    def _call(self, method: str, request: Any) -> Any:
        """Call a method of the gateway and tell locust how it went; None when it failed."""
        send: Callable[..., Any] = getattr(self._stub, method)
        began = time.perf_counter()
        failure: grpc.RpcError | None = None
        answer = None
        try:
            answer = send(request, metadata=self.access.metadata, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            failure = error
        self.environment.events.request.fire(
            request_type="grpc",
            name=method,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=answer.ByteSize() if answer is not None else 0,
            exception=_described(failure),
            context={},
        )
        return answer


def _described(failure: Any) -> CallFailed | None:
    if failure is None:
        return None
    outcome = outcome_of_failure(failure)
    return CallFailed(f"{failure.code().name} {outcome.kind} {outcome.reason}")


_test_events: Any = events
_test_events.init_command_line_parser.add_listener(add_options)
_test_events.init.add_listener(find_bank)
