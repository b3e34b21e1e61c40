"""The pure rules against the model: whatever three shards are asked, in whatever batches, committed or dropped."""

from collections.abc import Sequence
from typing import Any

import pytest
from bank_faces import Changing, Deciding, Expiring, Holding, Inquiry, Landing, Opening, Promising, Seen, Word, Work
from bank_machine import BankMachine
from bank_requests import BALANCE_MAX, Request, batches, new_states
from bank_writing import HOUR
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from memory_books import CZK, DAY_US, crossings, transfers
from whole_books import WholeBooks

from services.domain import limits
from services.domain.metadata import Metadata
from services.domain.outcomes import Outcome
from services.ledger import changes, holds, posting, promises, spanning
from services.ledger.books import AccountState, CapKey, Kind
from services.ledger.draft import Draft
from services.ledger.spending import of_day
from services.ledger.traffic import Crossing, Verdict, Watermarks


class MemoryBank:
    """Shards whose books are in memory."""

    def __init__(self, shards: Sequence[int]) -> None:
        self.books = {shard: WholeBooks(shard) for shard in shards}

    def run(self, shard: int, work: Sequence[Work], fate: str) -> list[Any] | None:
        books = self.books[shard]
        draft = books.draft()
        answers = [decide(draft, one) for one in work]
        if fate == "dropped":
            return None
        if fate == "dropped, then decided again":
            draft = books.draft()
            assert [decide(draft, one) for one in work] == answers
        books.commit(draft)
        return answers

    def wait(self, hours: int) -> None:
        for books in self.books.values():
            books.wait(hours * HOUR)

    def today(self, shard: int) -> int:
        return self.books[shard].time_us // DAY_US

    def cap(self, shard: int, customer: int, number: int, day_max: int) -> None:
        self.books[shard].cap(customer, day_max)

    def capped(self, shard: int, customer: int) -> int:
        spent = self.books[shard].caps[CapKey(customer, CZK)].spent
        return of_day(spent, self.today(shard)).minor

    def value_dates(self, shard: int) -> dict[bytes, int]:
        return {
            row.transfer_id: row.value_date
            for row in self.books[shard].transfers.values()
            if row.kind in {Kind.ASKED, Kind.LANDING, Kind.KEPT} and not row.refusal
        }

    def payee_refusal(self, shard: int, number: int, currency: int) -> int:
        known = self.books[shard].accounts.get(number)
        facts = AccountState(number, known.currency, known.floor_minor, known.restrictions) if known else None
        return posting.credit_refusal(facts, 0, currency)

    def accounts(self, shard: int) -> dict[int, Seen]:
        books = self.books[shard]
        return {
            number: Seen(
                state.currency,
                state.floor_minor,
                state.restrictions,
                [(amount, after) for _, amount, after in books.entries.get(number, [])],
                state.held_minor,
                of_day(state.spent, self.today(shard))[1:],
            )
            for number, state in books.accounts.items()
        }

    def outcome(self, shard: int, transfer_id: bytes) -> tuple[int, int]:
        books = self.books[shard]
        meaning = books.decisions[transfer_id]
        is_crossing = meaning.outcome == Outcome.IN_TRANSIT and meaning.kind == Kind.ASKED
        if not is_crossing or meaning.number > books.peers[meaning.peer_id].acknowledged_through:
            return meaning.outcome, meaning.refusal
        refusal = books.returned.get(meaning.peer_id, {}).get(meaning.number, 0)
        return (Outcome.RETURNED if refusal else Outcome.POSTED), refusal

    def metadata(self, shard: int) -> dict[bytes, Metadata]:
        books = self.books[shard]
        return {books.transfers[sequence].transfer_id: pairs for sequence, pairs in books.metadata.items()}

    def open_promises(self, shard: int) -> list[tuple[bytes, int]]:
        return [(promise.transfer_id, promise.home_id) for promise in self.books[shard].open_promises.all()]

    def watermarks(self, shard: int) -> dict[int, Watermarks]:
        return self.books[shard].peers

    def sent(self, shard: int, peer_id: int) -> list[Crossing]:
        return self.books[shard].sent.get(peer_id, [])

    def refused(self, shard: int, peer_id: int) -> dict[int, int]:
        return self.books[shard].refused.get(peer_id, {})

    def returned(self, shard: int, peer_id: int) -> dict[int, int]:
        return self.books[shard].returned.get(peer_id, {})


def decide(draft: Draft, work: Work) -> Any:
    match work:
        case tuple():
            return posting.post(draft, transfers(work))
        case Promising(_, asked):
            return promises.promise(draft, asked)
        case Deciding(_, span, refusals, told):
            return spanning.decide(draft, span, refusals, told)
        case Inquiry(peer_id, asked):
            return spanning.tell(draft, peer_id, [asked])
        case Landing(peer_id, sent):
            for run in crossings(peer_id, sent).runs():
                if isinstance(run, Verdict):
                    promises.settle(draft, peer_id, run)
                else:
                    posting.land(draft, run)
            return None
        case Word(peer_id, through, refused):
            return posting.acknowledge(draft, peer_id, through, refused)
        case Opening(number, currency, floor, allowance, customer):
            opening = AccountState(number, currency, floor, customer_number=customer, allowance=allowance)
            return posting.open_accounts(draft, [opening])
        case Holding(command):
            return holds.command(draft, [command], [0])
        case Expiring(hold_ids):
            return holds.expire(draft, hold_ids)
        case Changing(change):
            return changes.change(draft, change, 0)


class PureRules(BankMachine):
    """Three shards in memory."""

    SHARDS = (1, 2, 3)

    def make_bank(self) -> MemoryBank:
        return MemoryBank(self.SHARDS)

    @rule(batch=batches(SHARDS))
    def commit(self, batch: tuple[int, list[Request]]) -> None:
        self.batch(*batch, "committed")

    @rule(first=batches(SHARDS), second=batches(SHARDS))
    def commit_two(self, first: tuple[int, list[Request]], second: tuple[int, list[Request]]) -> None:
        self.batch(*first, "committed")
        self.batch(*second, "committed")

    @rule(batch=batches(SHARDS))
    def commit_and_settle(self, batch: tuple[int, list[Request]]) -> None:
        self.batch(*batch, "committed")
        self.settle()

    @rule(batch=batches(SHARDS), fate=st.sampled_from(["dropped", "dropped, then decided again"]))
    def fail_to_commit(self, batch: tuple[int, list[Request]], fate: str) -> None:
        self.batch(*batch, fate)

    @rule(state=new_states(SHARDS), batch=batches(SHARDS))
    def change_state_and_commit(self, state: tuple[int, Request], batch: tuple[int, list[Request]]) -> None:
        self.batch(state[0], [state[1]], "committed")
        self.batch(*batch, "committed")


def test_the_pure_rules_do_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BALANCE_MINOR_MAX", BALANCE_MAX)
    run_state_machine_as_test(PureRules, settings=settings(stateful_step_count=25))
