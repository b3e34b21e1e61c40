"""Callers: they want things, send them under ids minted once, and send again whatever is not answered for ever.

Each is a process of its own that follows the README's table of statuses and nothing else. What they are told goes
to the oracle. Never here: what may go wrong with the bank.
"""

import asyncio
from random import Random
from typing import Any

from google.rpc import status_pb2
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.account.opening import Refusal
from services.chassis import clients, status
from services.domain import errors
from services.domain.outcomes import Outcome
from services.transport.channel import CallError
from simulation.bank import Bank
from simulation.hosts import Host
from simulation.journal import claim
from simulation.loop import Process
from simulation.openings import KINDS, is_beaten, number_told
from simulation.oracle import REUSED, Answer, Intention, Oracle
from simulation.wishes import Wishes

PAUSE_SECONDS_MAX = 1.0

OPERATOR_SECONDS = 1.0
"""By how much whoever moves or opens accounts is more patient than a payer: it takes six commits and calls, one after the other."""

YIELDING = {Refusal.REQUEST_ID_REUSED, Refusal.EXTERNAL_REFERENCE_TAKEN}
"""What an opening is told that comes after another in its call which has the same id, or the same name."""


class CallerHost(Host):
    """Somebody who wants things, several at a time."""

    def __init__(self, bank: Bank, oracle: Oracle, wishes: Wishes, number: int) -> None:
        super().__init__(bank, f"caller-{number}")
        self._oracle = oracle
        self._wishes = wishes
        self._chance = Random(f"caller {bank.plan.seed} {number}")
        self.is_done = False

    async def main(self, process: Process) -> None:
        self.is_done = False
        desk = Desk(self.bank, self._oracle, self._chance)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._chance.choice((1, 3, 8))):
                group.create_task(self._live(desk))
        self.is_done = True

    async def _live(self, desk: "Desk") -> None:
        """Want one thing after the other, and ask again about some of them."""
        chance = self._chance
        while (wished := self._wishes.next()) is not None:
            await asyncio.sleep(wished[0].pause_seconds)
            await desk.settle_all(wished, attempts_max=chance.choice((1, 3, 1000)))
            if chance.random() < 0.2:
                await desk.settle_all(wished, attempts_max=2)
            if self.bank.plan.think_seconds:
                await asyncio.sleep(chance.expovariate(1 / self.bank.plan.think_seconds))


class Desk:
    """One process's way to the bank."""

    def __init__(self, bank: Bank, oracle: Oracle, chance: Random) -> None:
        self._bank = bank
        self._oracle = oracle
        self._chance = chance
        # The simulated network puts its own in the place of this one.
        channels: list[Any] = [clients.Channel(gateway.address, clients.PATIENCE) for gateway in bank.gateways]  # type: ignore[attr-defined]
        self._stubs = [bank_pb2_grpc.BankStub(channel) for channel in channels]

    async def settle_all(self, intentions: list[Intention], attempts_max: int = 1_000_000) -> None:
        """Ask for things until each has an outcome for ever, or patience ends."""
        pause = 0.02
        for attempt in range(attempts_max):
            missing = [one for one in intentions if attempt == 0 or not one.is_settled]
            if not missing:
                return
            try:
                await self._attempt(missing)
            except errors.BankError as error:
                self._bank.story.tell("not told", what=missing[0].short, reason=error.reason)
            if all(one.is_settled for one in intentions):
                return
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1.0))
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _attempt(self, intentions: list[Intention]) -> None:
        """Send once, and take what comes."""
        now = self._bank.loop.time()
        for one in intentions:
            one.first_sent = now if one.first_sent is None else one.first_sent
            one.attempts += 1
            one.under_way += 1
            self._bank.story.tell("asks", what=one.short, attempt=one.attempts)
        before = [one.is_in_doubt for one in intentions]
        for one in intentions:
            one.is_in_doubt = True  # Until an answer says otherwise, also when this process dies.
        if len(intentions) > 1:
            send = self._open_many if intentions[0].kind in KINDS else self._send_many
            results = await send(intentions)
        else:
            results = [await self._send_one(intentions[0])]
        for one, was_in_doubt, result in zip(intentions, before, results, strict=True):
            self._judge(one, was_in_doubt, result)

    def _judge(self, intention: Intention, was_in_doubt: bool, result: Answer | errors.BankError) -> None:
        intention.under_way -= 1
        if isinstance(result, Answer):
            claim(not intention.is_wrong, "what must be turned away was taken", intention.short, result)
            intention.is_in_doubt = was_in_doubt
            self._oracle.answered(intention, result)
            return
        self._bank.story.tell("not told", what=intention.short, reason=result.reason)
        is_turned_away = isinstance(result, errors.Malformed) or result.reason == "CURRENCY_NOT_KEPT"
        claim(intention.is_wrong or not is_turned_away, "a caller's request is malformed", intention.short, result)
        claim(result.reason not in {"PEER_FAILED", "INTERNAL"}, "a service failed", intention.short, result)
        says_nothing_written = not isinstance(result, errors.OutcomeUnknown) and result.reason != "PEER_UNREACHABLE"
        if (
            isinstance(result, errors.Malformed | errors.Refused | errors.NotFound)
            and result.reason != "ACCOUNT_NOT_FOUND"
        ):
            intention.declined = result.reason
        if says_nothing_written and getattr(result, "was_described", True):
            intention.is_in_doubt = was_in_doubt
            says_so = result.reason != Refusal.BANK_FULL  # An earlier attempt may have had the last place.
            if says_so and not self._bank.network.weather.doubled and "doubles" not in self._bank.plan.faults:
                self._oracle.nothing_written(intention)

    async def _send_one(self, intention: Intention) -> Answer | errors.BankError:
        seconds = self._chance.uniform(*self._bank.plan.call_seconds)
        if intention.kind == "move" or (intention.kind in KINDS and self._chance.random() < 0.7):
            seconds += OPERATOR_SECONDS
        try:
            stub = self._chance.choice(self._stubs)
            answer = await getattr(stub, intention.method)(intention.request, timeout=seconds)
        except CallError as failure:
            error = status.from_rpc_error(failure)
            error.was_described = status.is_described(failure)  # type: ignore[attr-defined]
            return _opened(error) if intention.kind in KINDS else _for_ever(error)
        if intention.kind in KINDS:
            return Answer(Outcome.POSTED, number_told(answer, intention.kind))
        if isinstance(answer, bank_pb2.Transfer):
            self._oracle.told_fee(intention, answer.fee_minor)
            return Answer(Outcome(answer.state))
        return Answer(Outcome.POSTED)

    async def _send_many(self, intentions: list[Intention]) -> list[Answer | errors.BankError]:
        seconds = self._chance.uniform(*self._bank.plan.call_seconds)
        request = bank_pb2.PostTransfersRequest(transfers=[one.request.transfer for one in intentions])
        try:
            answer = await self._chance.choice(self._stubs).PostTransfers(request, timeout=seconds)
        except CallError as failure:
            error = status.from_rpc_error(failure)
            error.was_described = status.is_described(failure)  # type: ignore[attr-defined]
            return [error] * len(intentions)
        claim(len(answer.results) == len(intentions), "a call has other results than transfers", len(answer.results))
        return [_result(result) for result in answer.results]

    async def _open_many(self, intentions: list[Intention]) -> list[Answer | errors.BankError]:
        """Open customers, or accounts, by one call; each has a result of its own."""
        kind, requests = intentions[0].kind, [one.request for one in intentions]
        seconds = self._chance.uniform(*self._bank.plan.call_seconds) + OPERATOR_SECONDS
        stub = self._chance.choice(self._stubs)
        try:
            if kind == "customer":
                results = (
                    await stub.OpenCustomers(bank_pb2.OpenCustomersRequest(requests=requests), timeout=seconds)
                ).results
            else:
                results = (
                    await stub.OpenAccounts(bank_pb2.OpenAccountsRequest(requests=requests), timeout=seconds)
                ).results
        except CallError as failure:
            error = status.from_rpc_error(failure)
            error.was_described = status.is_described(failure)  # type: ignore[attr-defined]
            return [error] * len(intentions)
        claim(len(results) == len(intentions), "a call has other results than openings", kind, len(results))
        told: list[Answer | errors.BankError] = []
        for place, (one, result) in enumerate(zip(intentions, results, strict=True)):
            if not result.HasField("error"):
                told.append(Answer(Outcome.POSTED, number_told(getattr(result, kind), kind)))
                continue
            error = _error_of(result)
            has_to_yield = error.reason in YIELDING and is_beaten(one, intentions[:place])
            told.append(error if has_to_yield else _opened(error))
        return told


def _opened(error: errors.BankError) -> Answer | errors.BankError:
    """Read why nothing was opened, as an answer where it is one."""
    is_answer = error.reason in {*Refusal} - {Refusal.BANK_FULL}
    return Answer(Outcome.REFUSED, error.reason) if is_answer else _for_ever(error)


def _error_of(result: Any) -> errors.BankError:
    error = status.from_status(status_pb2.Status.FromString(result.error.SerializeToString()))
    assert error is not None
    return error


def _for_ever(error: errors.BankError) -> Answer | errors.BankError:
    """Read an error as an outcome where it is one."""
    if isinstance(error, errors.Conflict):
        return REUSED
    if isinstance(error, errors.Refused | errors.NotFound):
        if error.metadata.get("state") == "RETURNED":
            return Answer(Outcome.RETURNED, error.reason)
        if error.metadata.get("state") == "REFUSED" or "request_id" in error.metadata:
            return Answer(Outcome.REFUSED, error.reason)
    return error


def _result(result: bank_pb2.TransferResult) -> Answer | errors.BankError:
    """Read one result of many."""
    if result.HasField("error"):
        return _for_ever(_error_of(result))
    return Answer(Outcome(result.state), result.reason)
