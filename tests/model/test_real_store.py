"""The writer on real PostgreSQL against the model: forgetful, cut off, replaced, and never wrong."""

import asyncio

import pytest
from bank_faces import Bank
from bank_machine import BankMachine
from bank_requests import BALANCE_MAX, Request, batches, new_states
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from store_bank import CUTS, StoreBank

from services.domain import limits
from services.ledger import batching, memory

SHARDS = (1, 2)


class RealStore(BankMachine):
    """Two shards in PostgreSQL; `store_bank` is there before the first example."""

    SHARDS = SHARDS
    store_bank: StoreBank

    def make_bank(self) -> Bank:
        self.store_bank.begin()
        return self.store_bank

    def teardown(self) -> None:
        self.store_bank.end()

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


async def test_the_writer_does_what_the_model_does(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BALANCE_MINOR_MAX", BALANCE_MAX)
    # Memories that hold almost nothing: most repeats are found by the unique index only.
    monkeypatch.setattr(memory, "IDS_MAX", 4)
    monkeypatch.setattr(memory, "ACCOUNTS_MAX", 6)
    monkeypatch.setattr(batching, "RECONNECT_SECONDS", 0.001)
    # Hypothesis is synchronous and the bank has a loop of its own, so they get a thread of their own.
    await asyncio.to_thread(_compare, {shard: ledger_dsns[shard] for shard in SHARDS})


def _compare(dsns: dict[int, str]) -> None:
    examples = settings.default.max_examples * 15 // 100  # Each takes a hundred times as long as one in memory.
    bank = RealStore.store_bank = StoreBank(dsns)
    try:
        run_state_machine_as_test(RealStore, settings=settings(max_examples=examples, stateful_step_count=12))
    finally:
        bank.close()
