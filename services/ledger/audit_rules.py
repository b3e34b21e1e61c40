"""What the snapshots of several shards must say about each other, as pure rules.

Two snapshots are never of the same instant, so streams of crossings are compared only up to the
numbers that both snapshots have, and money is counted with what either has beyond that. Never here:
checks within one shard (`audit.sql` and its neighbours), connections (`audit.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

from services.domain import chart
from services.domain.currencies import CODE_BY_NUMBER
from services.domain.identifiers import account_text
from services.domain.outcomes import Refusal
from services.ledger.audit_report import Evidence, InFlight, Totals


class Stream(NamedTuple):
    """How far crossings to and from one peer have come, in one snapshot."""

    sent_through: int
    acknowledged_through: int
    landed_through: int


_REFUSAL_NAMES: Final = {refusal.value: refusal.name for refusal in Refusal}
NO_STREAM: Final = Stream(0, 0, 0)


class Group(NamedTuple):
    """Accounts with entries of one slot in one currency (0: not in the books)."""

    slot: int
    currency: int
    account_count: int
    account_number: int
    """One of them."""
    balance_minor: int


class ProductUse(NamedTuple):
    """A version of a product that accounts of one currency have or had."""

    code: str
    version: int
    currency: int
    account_count: int
    account_number: int
    """One of them."""


class Digest(NamedTuple):
    """A block of crossings as one shard has it."""

    row_count: int
    digest: int


Block = tuple[int, int, int]
"""Payer's shard, payee's shard, number of the block from 0."""

Money = tuple[int, int, int]
"""Payer's shard, payee's shard, currency."""


@dataclass(slots=True)
class Snapshot:
    """What one shard's snapshot says, as far as other shards or the whole bank need it."""

    shard_id: int
    streams: dict[int, Stream] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    products: list[ProductUse] = field(default_factory=list)
    transit_minor: dict[tuple[int, int], int] = field(default_factory=dict)
    """By peer and currency."""
    sent: dict[Block, Digest] = field(default_factory=dict)
    returned: dict[Block, Digest] = field(default_factory=dict)
    landed: dict[Block, Digest] = field(default_factory=dict)
    refused: dict[Block, Digest] = field(default_factory=dict)
    refused_numbers: dict[int, list[int]] = field(default_factory=dict)
    """By payer's shard: refused, and not acknowledged in the payer's snapshot."""
    moving: dict[Money, tuple[int, int, float]] = field(default_factory=dict)
    """Sent from here and not arrived: count, amount, age in seconds."""
    landed_ahead: dict[Money, int] = field(default_factory=dict)
    told: dict[Block, Digest] = field(default_factory=dict)
    """Decisions for peers."""
    heard: dict[Block, Digest] = field(default_factory=dict)
    """Decisions of peers."""
    promises_open: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By home: how many, and the age of the oldest in seconds."""


class Content(NamedTuple):
    """What both sides of a crossing have in common."""

    transfer_id: UUID
    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int
    value_date: date
    reference: str
    metadata: str

    def __str__(self) -> str:
        payer, payee = account_text(self.debit_account), account_text(self.credit_account)
        money = f"{self.amount_minor} {currency_text(self.currency)}"
        return f"({self.transfer_id}, {money} from {payer} to {payee}, {self.value_date}, {self.reference!r}{self.metadata and f', {self.metadata}'})"


class Side(NamedTuple):
    """A block of crossings, row by row, as one shard has it."""

    rows: Mapping[int, Content]
    """Crossings that left the payer's shard, or landed on the payee's, by number."""
    refusals: Mapping[int, int]
    """Reasons of those that came back, or were refused, by number."""


def streams(snapshots: Mapping[int, Snapshot]) -> Iterator[tuple[Snapshot, Snapshot]]:
    """Yield every payer's and payee's shard between which money has passed."""
    for payer in snapshots.values():
        for payee in snapshots.values():
            if payee.shard_id in payer.streams or payer.shard_id in payee.streams:
                yield payer, payee


def through(payer: Snapshot, payee: Snapshot) -> int:
    """Tell the last number that both snapshots have of what goes from `payer` to `payee`."""
    return min(sent_through(payer, payee.shard_id), landed_through(payee, payer.shard_id))


def sent_through(payer: Snapshot, payee_id: int) -> int:
    """Tell the last number that left for `payee_id`."""
    return payer.streams.get(payee_id, NO_STREAM).sent_through


def landed_through(payee: Snapshot, payer_id: int) -> int:
    """Tell the last number that arrived from `payer_id`."""
    return payee.streams.get(payer_id, NO_STREAM).landed_through


def acknowledged_through(payer: Snapshot, payee_id: int) -> int:
    """Tell the last number of which the payer's shard knows that it arrived at `payee_id`."""
    return payer.streams.get(payee_id, NO_STREAM).acknowledged_through


def check_balances(snapshot: Snapshot, evidence: Evidence) -> None:
    """Invariant 1."""
    for currency, balance in sorted(balances(snapshot).items()):
        if balance:
            evidence.add("balances_not_zero", snapshot.shard_id, f"{currency_text(currency)} adds up to {balance}")


def balances(snapshot: Snapshot) -> dict[int, int]:
    """Add up a shard's balances by currency."""
    sums: dict[int, int] = defaultdict(int)
    for group in snapshot.groups:
        sums[group.currency] += group.balance_minor
    return sums


def check_watermarks(
    before: Mapping[int, Mapping[int, Stream]], snapshots: Mapping[int, Snapshot], evidence: Evidence
) -> None:
    """Compare watermarks read `before` any snapshot with those in the snapshots: acknowledged <= landed <= sent.

    Watermarks only grow, so what one shard said before must be covered by what the other says later.
    """
    for payer, payee in streams(snapshots):
        source, target = payer.shard_id, payee.shard_id
        acknowledged = before[source].get(target, NO_STREAM).acknowledged_through
        landed = before[target].get(source, NO_STREAM).landed_through
        if acknowledged > landed_through(payee, source):
            text = f"to shard {target}: acknowledged through {acknowledged}, landed {landed_through(payee, source)}"
            evidence.add("watermarks_disagree", source, text)
        if landed > sent_through(payer, target):
            text = f"from shard {source}: landed through {landed}, sent {sent_through(payer, target)}"
            evidence.add("watermarks_disagree", target, text)


def check_peers(snapshots: Mapping[int, Snapshot], evidence: Evidence) -> None:
    """Crossings to or from a shard that is not audited cannot be paired."""
    for snapshot in snapshots.values():
        for peer_id in snapshot.streams.keys() - (snapshots.keys() - {snapshot.shard_id}):
            evidence.add("peer_not_audited", snapshot.shard_id, f"money passed to or from shard {peer_id}")


def differing_blocks(snapshots: Mapping[int, Snapshot]) -> list[Block]:
    """Find the blocks whose digests are not what the other shard's are."""
    left: dict[tuple[bool, Block], Digest] = {}
    arrived: dict[tuple[bool, Block], Digest] = {}
    for snapshot in snapshots.values():
        left |= {(True, block): digest for block, digest in snapshot.sent.items()}
        left |= {(False, block): digest for block, digest in snapshot.returned.items()}
        arrived |= {(True, block): digest for block, digest in snapshot.landed.items()}
        arrived |= {(False, block): digest for block, digest in snapshot.refused.items()}
    return sorted({key[1] for key in left.keys() | arrived.keys() if left.get(key) != arrived.get(key)})


def compare_block(
    payer: Snapshot, payee: Snapshot, left: Side, arrived: Side, numbers: range, evidence: Evidence
) -> None:
    """Compare crossings row by row; all of `numbers` are below what both snapshots have."""
    acknowledged = acknowledged_through(payer, payee.shard_id)
    for number in numbers:
        content, landed = left.rows.get(number), arrived.rows.get(number)
        returned, refused = left.refusals.get(number), arrived.refusals.get(number)
        name = f"crossing {number} from shard {payer.shard_id} to shard {payee.shard_id}"
        if content is None:
            if landed is not None or refused is not None:
                evidence.add("landed_unsent", payee.shard_id, f"{name} never left")
        elif landed is None and refused is None:
            evidence.add("crossing_lost", payee.shard_id, f"{name} neither landed nor was refused: {content}")
        elif landed is not None and landed != content:
            text = f"{name} left as {content}, landed as {landed}"
            evidence.add("pair_differs", payee.shard_id, text)
        elif landed is not None and returned is not None:
            evidence.add("landed_and_returned", payer.shard_id, f"{name} landed and was given back")
        elif refused is not None and returned is None and number <= acknowledged:
            evidence.add("refused_not_returned", payer.shard_id, f"{name} was refused and acknowledged, not given back")
        elif refused is not None and returned is not None and refused != returned:
            text = f"{name} was refused for {refused}, given back for {returned}"
            evidence.add("refusals_differ", payer.shard_id, text)


def money_in_flight(snapshots: Mapping[int, Snapshot]) -> tuple[InFlight, ...]:
    """Put together what payers' shards have sent and payees' shards have landed ahead of them."""
    moving: dict[Money, tuple[int, int, float]] = {}
    ahead: dict[Money, int] = {}
    for snapshot in snapshots.values():
        moving.update(snapshot.moving)
        ahead.update(snapshot.landed_ahead)
    return tuple(
        InFlight(*money, *moving.get(money, (0, 0, 0.0)), ahead.get(money, 0))
        for money in sorted(moving.keys() | ahead.keys())
    )


def check_transit(snapshots: Mapping[int, Snapshot], in_flight: Iterable[InFlight], evidence: Evidence) -> None:
    """Two shards' transit accounts for each other differ by exactly what is in flight between them."""
    expected: dict[Money, int] = defaultdict(int)
    for money in in_flight:
        low, high = sorted((money.payer_shard, money.payee_shard))
        expected[low, high, money.currency] += money.net_minor
    held: dict[Money, int] = defaultdict(int)
    for snapshot in snapshots.values():
        for (peer_id, currency), balance in snapshot.transit_minor.items():
            if peer_id in snapshots:
                low, high = sorted((snapshot.shard_id, peer_id))
                held[low, high, currency] += balance
    for low, high, currency in sorted(expected.keys() | held.keys()):
        here, there = held[low, high, currency], expected[low, high, currency]
        if here != there:
            name = f"{currency_text(currency)} between shards {low} and {high}"
            evidence.add("transit_differs", None, f"{name}: transit accounts hold {here}, in flight are {there}")


def check_rest(
    snapshots: Mapping[int, Snapshot], in_flight: Iterable[InFlight], seconds_max: float, evidence: Evidence
) -> None:
    """Nothing is in flight for longer than `seconds_max`; with 0, nothing at all, not even unacknowledged."""
    for money in in_flight:
        if money.crossing_count and (not seconds_max or money.age_seconds > seconds_max):
            text = (
                f"to shard {money.payee_shard}: {money.crossing_count} crossings, {money.amount_minor} "
                f"{currency_text(money.currency)}, for {money.age_seconds:.1f} s"
            )
            evidence.add("in_flight_too_long", money.payer_shard, text)
    if not seconds_max:
        for snapshot in snapshots.values():
            for peer_id, stream in snapshot.streams.items():
                if stream.acknowledged_through < stream.sent_through:
                    text = f"to shard {peer_id}: sent {stream.sent_through}, acknowledged {stream.acknowledged_through}"
                    evidence.add("in_flight_too_long", snapshot.shard_id, text)


def check_conservation(snapshots: Mapping[int, Snapshot], in_flight: Iterable[InFlight], evidence: Evidence) -> None:
    """Invariant 7: what accounts other than transit accounts hold, and what is in flight, add up to 0."""
    sums: dict[int, int] = defaultdict(int)
    for snapshot in snapshots.values():
        for currency, balance in balances(snapshot).items():
            sums[currency] += balance
        for (_, currency), balance in snapshot.transit_minor.items():
            sums[currency] -= balance
    for money in in_flight:
        sums[money.currency] += money.net_minor
    for currency, total in sorted(sums.items()):
        if total:
            evidence.add("money_not_conserved", None, f"{currency_text(currency)} adds up to {total}")


def check_places(snapshot: Snapshot, shard_by_slot: Mapping[int, int] | None, evidence: Evidence) -> None:
    """Accounts lie where the directory says; without one, only the bank's own accounts tell their shard."""
    for group in snapshot.groups:
        own = chart.shard_of_internal_slot(group.slot)
        if own is None and shard_by_slot is None:
            continue
        place = own if own is not None or shard_by_slot is None else shard_by_slot.get(group.slot)
        if place != snapshot.shard_id:
            where = f"shard {place}" if place else "no shard"
            text = f"account {account_text(group.account_number)} (one of {group.account_count}) belongs on {where}"
            evidence.add("account_misplaced", snapshot.shard_id, text)


def shared_slots(snapshots: Mapping[int, Snapshot]) -> list[tuple[int, int, int]]:
    """Find slots with entries on more than one shard: slot, shard with fewer accounts of it, another shard."""
    counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for snapshot in snapshots.values():
        for group in snapshot.groups:
            counts[group.slot][snapshot.shard_id] += group.account_count
    pairs = []
    for slot, by_shard in sorted(counts.items()):
        shards = sorted(by_shard, key=lambda shard_id: (by_shard[shard_id], shard_id))
        pairs += [(slot, one, other) for place, one in enumerate(shards) for other in shards[place + 1 :]]
    return pairs


def currency_text(currency: int) -> str:
    """Name a currency for people."""
    return CODE_BY_NUMBER.get(currency, f"currency {currency}") if currency else "accounts not in the books"


def refusal_text(refusal: int) -> str:
    """Name a refusal for people."""
    return _REFUSAL_NAMES.get(refusal, f"refusal {refusal}")


def rows_checked(snapshots: Mapping[int, Snapshot], answer_count: int) -> dict[int, int]:
    """Tell for each invariant how many rows were looked at; `answer_count` answers given to callers."""
    counts: dict[str, int] = defaultdict(int)
    for snapshot in snapshots.values():
        counts["accounts_with_entries"] += sum(group.account_count for group in snapshot.groups)
        for name, count in snapshot.counts.items():
            counts[name] += count
    accounts, entries = counts["accounts_with_entries"], counts["entries"]
    arrived = counts["landings"] + counts["crossings_refused"]
    decisions = counts["decisions_out"] + counts["decisions_landed"] + counts["promises"]
    crossings = counts["crossings_out"] + arrived + counts["crossings_returned"] + decisions
    transfers = counts["transfers"] + counts["relations"] + counts["metadata"] + answer_count
    held = entries + counts["holds"]
    counts["products"] = sum(use.account_count for snapshot in snapshots.values() for use in snapshot.products)
    limited = (
        counts["products"]
        + counts["limited_accounts"]
        + counts["changes"]
        + counts["caps"]
        + counts["spendings"]
        + counts["fee_legs"]
    )
    return {
        1: accounts,
        2: entries,
        3: entries,
        4: held,
        5: transfers,
        6: crossings,
        7: accounts,
        8: accounts,
        9: limited,
    }


def totals(snapshots: Mapping[int, Snapshot], in_flight: tuple[InFlight, ...]) -> Totals:
    """Add up how much was audited."""
    all_balances: dict[int, int] = defaultdict(int)
    customers: dict[int, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    for snapshot in snapshots.values():
        for name, count in snapshot.counts.items():
            counts[name] += count
        for group in snapshot.groups:
            if group.currency not in CODE_BY_NUMBER:
                continue
            all_balances[group.currency] += group.balance_minor
            if chart.shard_of_internal_slot(group.slot) is None:
                customers[group.currency] += group.balance_minor
    return Totals(
        transfers=counts["asked"],
        entries=counts["entries"],
        accounts=counts["accounts"],
        crossings=counts["crossings_out"],
        returns=counts["crossings_returned"],
        balances_minor=dict(sorted(all_balances.items())),
        customers_minor=dict(sorted(customers.items())),
        in_flight=in_flight,
    )
