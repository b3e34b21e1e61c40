"""What happens around a locust run: each process opens its accounts before it, and proves its books after it.

With workers, each proves what its own users were told and reports to the master; the master lets the bank
audit itself. Accounts are opened by a program of their own (`loadtest.target`): grpc.aio does not work in a
process that gevent has patched. Never here: users.
"""

import json
import logging
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import grpc
from grpc.experimental import gevent as grpc_gevent
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest import bank
from loadtest.accounts import FUNDING_MINOR
from loadtest.client import CHANNEL_OPTIONS, POSTED, Access, Outcome, outcome_of_failure, outcome_of_transfer
from loadtest.journal import ASK_AGAIN, Journal
from loadtest.mix import MIXES
from loadtest.users import options
from loadtest.users.group import Choices, Group

STOP_AND_PROVE: Final = "hivecore_stop_and_prove"
PROVED: Final = "hivecore_proved"
PROOF_SECONDS_MAX: Final = 120.0
PATIENCE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.1
EVIDENCE_MAX: Final = 5
CALLS_IN_FLIGHT_MAX: Final = 200
"""Of one process; gevent's own limit is 10, and users beyond it would wait for each other."""

_log = logging.getLogger("hivecore")


class RunFailed(Exception):
    """The run cannot begin, or its books are not sound; the message says why."""


@dataclass(slots=True)
class Run:
    """One run in this process."""

    choices: Choices | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    """Of a master: what its workers reported."""
    is_proved: bool = False


_run = Run()


def group_of(mix: str, environment: Environment) -> Group:
    """Give the group of a mix in this process."""
    if mix not in _run.groups:
        if _run.choices is None:
            raise RunFailed("the run has not been prepared")
        _run.groups[mix] = Group(MIXES[mix], _run.choices, environment)
    return _run.groups[mix]


def on_init(environment: Environment, runner: Any, **_: Any) -> None:
    """Leave out kinds of users without the tags asked for, and let master and workers talk about the proof."""
    asked: Any = environment.parsed_options
    wanted = set(getattr(asked, "tags", None) or ())
    if wanted and not isinstance(runner, WorkerRunner):
        environment.user_classes = [
            kind
            for kind in environment.user_classes
            if any(wanted & getattr(each, "locust_tag_set", set()) for each in kind.tasks)
        ]
    if isinstance(runner, WorkerRunner):
        runner.register_message(STOP_AND_PROVE, _stop_and_prove, concurrent=True)
    elif isinstance(runner, MasterRunner):
        runner.register_message(PROVED, lambda msg, **_: _run.proofs.append(msg.data))


def on_test_start(environment: Environment, **_: Any) -> None:
    """Open this process's accounts; a master has no users and opens none."""
    _run.groups, _run.proofs, _run.is_proved = {}, [], False
    if isinstance(environment.runner, MasterRunner):
        return
    asked: Any = environment.parsed_options
    command = [sys.executable, "-m", "loadtest.target", "--accounts", str(asked.accounts), *options.target_of(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        _log.error("no accounts were opened: %s", done.stderr.strip())
        environment.process_exit_code = 1
        gevent.spawn(environment.runner.quit)  # type: ignore[union-attr]
        return
    # gRPC's own threads would stop gevent's loop; it waits in gevent's, one for each call in flight. Not earlier:
    # --processes forks after the locustfile is read.
    gevent.get_hub().threadpool.maxsize = CALLS_IN_FLIGHT_MAX
    grpc_gevent.init_gevent()
    said = json.loads(done.stdout)
    _run.choices = Choices(
        Access(said["gateway"], said["token"]),
        said["accounts_by_shard"],
        said["currency_code"],
        asked.popularity,
        asked.hot_share,
        asked.crossing_share,
        asked.batch_transfers,
        asked.deadline_seconds,
    )


def on_test_stopping(environment: Environment, **_: Any) -> None:
    """Tell the workers to stop and prove while the master still listens: it does not when it quits."""
    if isinstance(environment.runner, MasterRunner):
        environment.runner.send_message(STOP_AND_PROVE)


def on_test_stop(environment: Environment, **_: Any) -> None:
    """Prove what this process's users were told, or wait for the workers' proofs; then let the bank audit itself."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        _report(environment)
        return
    if isinstance(runner, MasterRunner):
        _await_proofs(runner)
    else:
        _run.proofs = [_prove()]
    _conclude(environment)


def on_quitting(environment: Environment, **_: Any) -> None:
    """Stop and prove also when a signal ends the run, before locust decides on its exit status."""
    runner = environment.runner
    if runner is not None and not isinstance(runner, WorkerRunner) and runner.state in {"spawning", "running"}:
        runner.quit()


def _stop_and_prove(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    if runner is not None:
        runner.stop()
        _report(environment)


def _report(environment: Environment) -> None:
    """Prove once, when the last user has left, and tell the master."""
    runner: Any = environment.runner
    if not _run.is_proved and runner is not None:
        _run.is_proved = True
        runner.user_greenlets.join()
        runner.send_message(PROVED, _prove())


def _await_proofs(runner: MasterRunner) -> None:
    give_up = time.monotonic() + PROOF_SECONDS_MAX
    while len(_run.proofs) < runner.worker_count and time.monotonic() < give_up:
        gevent.sleep(PAUSE_SECONDS)
    if len(_run.proofs) < runner.worker_count:
        _run.proofs.append({"evidence": [f"only {len(_run.proofs)} of {runner.worker_count} workers gave a proof"]})


def _conclude(environment: Environment) -> None:
    """Say what was proved; a run whose books are not sound ends with exit status 1."""
    evidence = [line for proof in _run.proofs for line in proof["evidence"]]
    data = getattr(environment.parsed_options, "bank_data", "")
    audited = "the audit is the operator's"
    if data:
        status, said, complaint = bank.hivecore("audit", "--data", data, "--json")
        audited = "audit clean"
        if status != 0:
            evidence.append(f"the audit is not clean:\n{said}{complaint}")
    if evidence:
        environment.process_exit_code = 1
        _log.error("the books are NOT sound:\n%s", "\n".join(evidence))
        return
    transfers: Counter[str] = Counter()
    for proof in _run.proofs:
        transfers.update(proof["transfers"])
    _log.info(
        "the books are sound: %s; %d balances, all as in the journals of %d processes; transfers: %s",
        audited,
        sum(proof["accounts"] for proof in _run.proofs),
        len(_run.proofs),
        ", ".join(f"{kind} {count}" for kind, count in sorted(transfers.items())) or "none",
    )


def _prove() -> dict[str, Any]:
    """Compare every balance of this process's accounts with what its users were told."""
    choices = _run.choices
    if choices is None:
        return {"accounts": 0, "transfers": {}, "evidence": []}
    journal, transfers = Journal(), Counter[str]()
    for group in _run.groups.values():
        group.close()
        journal.add(group.journal)
        transfers.update(group.transfers)
    with grpc.insecure_channel(choices.access.gateway, options=CHANNEL_OPTIONS) as channel:
        stub: Any = bank_pb2_grpc.BankStub(channel)
        evidence = _decide(stub, choices, journal)
        numbers = [number for shard in choices.accounts_by_shard for number in shard]
        for number in numbers:
            request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
            held = stub.GetBalance(request, metadata=choices.access.metadata, timeout=PATIENCE_SECONDS).balance_minor
            expected = FUNDING_MINOR + journal.change_minor.get(number, 0)
            if held != expected:
                evidence.append(f"{number} holds {held}, and {expected} by what callers were told")
    return {"accounts": len(numbers), "transfers": dict(transfers), "evidence": evidence[:EVIDENCE_MAX]}


def _decide(stub: Any, choices: Choices, journal: Journal) -> list[str]:
    """Ask for every undecided transfer until it is decided; name those that have no outcome."""
    undecided, journal.undecided = journal.undecided, []
    types: dict[str, Any] = {"PostTransfer": bank_pb2.PostTransferRequest, "CaptureHold": bank_pb2.CaptureHoldRequest}
    evidence = []
    for each in undecided:
        request = types[each.method].FromString(each.request)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            outcome = _ask(stub, each.method, request, choices)
            if outcome.kind not in ASK_AGAIN or time.monotonic() > give_up:
                break
            gevent.sleep(PAUSE_SECONDS)
        if outcome.kind in ASK_AGAIN:
            evidence.append(f"{each.sent[0]} has no outcome: {outcome.kind} {outcome.reason}")
        elif outcome.kind == POSTED:
            journal.posted(each.sent)
    return evidence


def _ask(stub: Any, method: str, request: Any, choices: Choices) -> Outcome:
    try:
        answer = getattr(stub, method)(request, metadata=choices.access.metadata, timeout=PATIENCE_SECONDS)
    except grpc.RpcError as failure:
        return outcome_of_failure(failure)
    return outcome_of_transfer(answer)
