"""The writer on real PostgreSQL against the model: forgetful, cut off, replaced, and never wrong."""

import asyncio

import pytest
from bank_faces import Bank
from bank_machine import BankMachine
from bank_requests import BALANCE_MAX, Request, batches, batches_in_a_row, new_states
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from prometheus_client import REGISTRY
from store_bank import CUTS, StoreBank

from services.domain import limits
from services.ledger import ahead, batching, memory

SHARDS = (1, 2)


class _Stored(BankMachine):
    """Two shards in PostgreSQL; `store_bank` is there before the first example."""

    SHARDS = SHARDS
    store_bank: StoreBank

    def make_bank(self) -> Bank:
        self.store_bank.begin()
        return self.store_bank

    def teardown(self) -> None:
        self.store_bank.end()


class OneByOne(_Stored):
    """Batches come when the one before them is committed, and all kinds of things happen to it."""

    @rule(first=batches(SHARDS), second=batches(SHARDS), third=batches(SHARDS))
    def commit(
        self, first: tuple[int, list[Request]], second: tuple[int, list[Request]], third: tuple[int, list[Request]]
    ) -> None:
        for batch in (first, second, third):
            self.batch(*batch, "committed")

    @rule(batch=batches(SHARDS))
    def commit_and_settle(self, batch: tuple[int, list[Request]]) -> None:
        self.batch(*batch, "committed")
        self.settle()

    @rule(batch=batches(SHARDS))
    def commit_with_an_empty_memory(self, batch: tuple[int, list[Request]]) -> None:
        self.batch(*batch, "forgotten")

    @rule(batch=batches(SHARDS), cuts=st.lists(st.sampled_from(CUTS), min_size=1, max_size=3))
    def commit_while_connections_are_cut(self, batch: tuple[int, list[Request]], cuts: list[str]) -> None:
        self.batch(*batch, ",".join(cuts))

    @rule(batch=batches(SHARDS))
    def write_after_another_took_the_books(self, batch: tuple[int, list[Request]]) -> None:
        self.batch(*batch, "replaced")

    @rule(state=new_states(SHARDS), batch=batches(SHARDS))
    def change_state_and_commit(self, state: tuple[int, Request], batch: tuple[int, list[Request]]) -> None:
        self.batch(state[0], [state[1]], "committed")
        self.batch(*batch, "committed")


class InARow(_Stored):
    """Batches come while the one before them is being written, and are decided already."""

    @rule(batches=batches_in_a_row(SHARDS), cuts=st.sampled_from([*[()] * 5, *((cut,) for cut in CUTS)]))
    def arrive_while_the_batch_before_is_written(
        self, batches: tuple[int, list[list[Request]]], cuts: list[str]
    ) -> None:
        shard, requests = batches
        in_a_row = [self.prepare_all(shard, each) for each in requests]
        expected = [self.apply_all(shard, prepared) for prepared in in_a_row]
        works = [[self.with_checks(work, believed=believed) for work, believed in batch] for batch in in_a_row]
        answers = self.store_bank.run_in_a_row(shard, works, cuts)
        for prepared, answered, told in zip(in_a_row, answers, expected, strict=True):
            self.compare_all(shard, prepared, answered, told)

    @rule()
    def settle_all(self) -> None:
        self.settle()


async def test_the_writer_does_what_the_model_does(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Memories that hold almost nothing: most repeats are found by the unique index only.
    monkeypatch.setattr(memory, "IDS_MAX", 4)
    monkeypatch.setattr(memory, "ACCOUNTS_MAX", 6)
    await _compare(OneByOne, ledger_dsns, monkeypatch)


async def test_what_is_decided_ahead_is_what_the_model_does(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "IDS_MAX", 40)
    before = _counted("batches_ahead")
    await _compare(InARow, ledger_dsns, monkeypatch)
    assert _counted("batches_ahead") > before + 10, "hardly any batch was decided while the one before it was written"


async def test_what_is_decided_ahead_on_accounts_read_beside_is_what_the_model_does(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "IDS_MAX", 40)
    monkeypatch.setattr(memory, "ACCOUNTS_MAX", 1)
    monkeypatch.setattr(ahead, "LOADING_WEIGHT_MIN", 1)
    before = _counted("accounts_loaded_ahead")
    await _compare(InARow, ledger_dsns, monkeypatch)
    assert _counted("accounts_loaded_ahead") > before + 3, "no account was read for a batch decided ahead"


def _counted(what: str) -> float:
    found = (REGISTRY.get_sample_value(f"hivecore_ledger_{what}_total", {"shard": str(id_)}) for id_ in SHARDS)
    return sum(value or 0.0 for value in found)


async def _compare(machine: type[_Stored], dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BALANCE_MINOR_MAX", BALANCE_MAX)
    monkeypatch.setattr(batching, "RECONNECT_SECONDS", 0.001)
    # Hypothesis is synchronous and the bank has a loop of its own, so they get a thread of their own.
    await asyncio.to_thread(_run, machine, {shard: dsns[shard] for shard in SHARDS})


def _run(machine: type[_Stored], dsns: dict[int, str]) -> None:
    examples = settings.default.max_examples * 15 // 100  # Each takes a hundred times as long as one in memory.
    bank = machine.store_bank = StoreBank(dsns)
    try:
        run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=12))
    finally:
        bank.close()
