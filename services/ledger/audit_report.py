"""What an audit answers: the invariants, the checks that each is broken down to, and the report.

Never here: how the checks are made (`audit.sql` and its neighbours within a shard, `audit_rules.py`
between shards).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

INVARIANTS: Final[dict[int, str]] = {
    1: "Per shard and currency the balances add up to 0",
    2: "Every leg's entries add up to 0",
    3: "A balance is the sum of its entries, version by version, at any date",
    4: "Held is the sum of open holds and promises, each resolved once, and balance - held never falls below the floor",
    5: "One outcome per id, for ever; nothing refused has entries; nothing is given back beyond itself",
    6: "Every crossing has its pair on the peer or a return, every promise is resolved once and as its home decided",
    7: "Over all shards, balances and money in flight add up to 0",
    8: "An account has entries on one shard only",
    9: "Limits, states and fees were kept, and accounts are as their changes left them",
}

CHECKS: Final[dict[str, int]] = {
    "balances_not_zero": 1,
    "leg_unbalanced": 2,
    "entries_missing": 2,
    "entries_without_leg": 2,
    "entries_differ": 2,
    "legs_incomplete": 2,
    "account_missing": 3,
    "version_broken": 3,
    "order_broken": 3,
    "balance_broken": 3,
    "currency_differs": 3,
    "booked_out_of_order": 3,
    "day_differs": 3,
    "value_dated_differs": 3,
    "value_sum_differs": 3,
    "held_broken": 4,
    "floor_broken": 4,
    "hold_unplaced": 4,
    "hold_resolved_twice": 4,
    "hold_step_differs": 4,
    "hold_differs": 4,
    "hold_untimely": 4,
    "hold_misshapen": 4,
    "capture_exceeds_hold": 4,
    "id_repeated": 5,
    "refused_has_entries": 5,
    "burial_misshapen": 5,
    "relation_misplaced": 5,
    "reversal_of_nothing": 5,
    "reversal_differs": 5,
    "reversal_exceeds": 5,
    "metadata_misplaced": 5,
    "metadata_misshapen": 5,
    "sequence_missing": 5,
    "sequence_repeated": 5,
    "head_wrong": 5,
    "answer_forgotten": 5,
    "answer_contradicted": 5,
    "crossing_misshapen": 6,
    "crossing_unnumbered": 6,
    "number_without_crossing": 6,
    "sent_gap": 6,
    "landed_gap": 6,
    "landing_missing": 6,
    "landing_refused": 6,
    "landing_unnumbered": 6,
    "landing_renumbered": 6,
    "refusal_unnumbered": 6,
    "return_missing": 6,
    "return_of_nothing": 6,
    "return_early": 6,
    "return_differs": 6,
    "return_repeated": 6,
    "return_unnumbered": 6,
    "watermark_wrong": 6,
    "watermarks_disagree": 6,
    "peer_not_audited": 6,
    "crossing_lost": 6,
    "landed_unsent": 6,
    "pair_differs": 6,
    "landed_and_returned": 6,
    "refusals_differ": 6,
    "refused_not_returned": 6,
    "transit_differs": 6,
    "in_flight_too_long": 6,
    "promise_unmade": 6,
    "promise_end_differs": 6,
    "promise_kept_otherwise": 6,
    "promise_decided_otherwise": 6,
    "promise_unrecorded": 6,
    "promised_too_long": 6,
    "decision_misapplied": 6,
    "decision_missing": 6,
    "decision_unfounded": 6,
    "decisions_differ": 6,
    "route_misplaced": 6,
    "refused_leg_wrong": 5,
    "money_not_conserved": 7,
    "shard_not_audited": 7,
    "account_misplaced": 8,
    "account_on_two_shards": 8,
    "change_repeated": 9,
    "change_broken": 9,
    "account_differs": 9,
    "closed_not_empty": 9,
    "cap_differs": 9,
    "state_ignored": 9,
    "balance_limit_broken": 9,
    "transfer_limit_broken": 9,
    "day_limit_broken": 9,
    "customer_limit_broken": 9,
    "spending_differs": 9,
    "spending_missing": 9,
    "fee_misplaced": 9,
    "fee_despite_waiver": 9,
    "fee_income_differs": 9,
    "fee_without_product": 9,
    "product_unpublished": 9,
    "product_currency_differs": 9,
}
"""Which invariant each check belongs to."""


class Acknowledged(NamedTuple):
    """What a caller was told of a transfer, before the audit began."""

    transfer_id: bytes
    outcome: int
    refusal: int = 0
    """Why it was refused or returned; 0 when the caller did not keep it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check that failed."""

    check: str
    shard_id: int | None
    evidence: tuple[str, ...]
    """Rows of the books as text; the first of them only, when there are many."""
    found: int
    """How many there are in all."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the audit says about one invariant."""

    number: int
    title: str
    checked: int
    """How many rows were looked at for it, over all shards."""
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Tell whether nothing speaks against it."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """Say it in one word."""
        return "holds" if self.holds else "broken"

    @property
    def evidence(self) -> tuple[str, ...]:
        """Every finding's rows, each with its shard and check in front."""
        return tuple(
            f"{'' if finding.shard_id is None else f'shard {finding.shard_id}, '}{finding.check}: {row}"
            for finding in self.findings
            for row in finding.evidence
        )


@dataclass(frozen=True, slots=True)
class InFlight:
    """Money on its way from one shard to another in one currency."""

    payer_shard: int
    payee_shard: int
    currency: int
    crossing_count: int
    amount_minor: int
    age_seconds: float
    """Since the oldest of them was booked; 0 when there is none."""
    landed_ahead_minor: int
    """Landed in the payee's snapshot, but sent only after the payer's older one."""

    @property
    def net_minor(self) -> int:
        """What the two snapshots miss between them."""
        return self.amount_minor - self.landed_ahead_minor


@dataclass(frozen=True, slots=True)
class Totals:
    """How much was audited."""

    transfers: int
    """Asked for by callers, refusals included."""
    entries: int
    accounts: int
    crossings: int
    returns: int
    balances_minor: dict[int, int]
    """Sum of all balances by currency: 0, if the books are sound. Accounts of no known currency are left out."""
    customers_minor: dict[int, int]
    """Sum of the customers' balances by currency."""
    in_flight: tuple[InFlight, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The audit's answer."""

    results: tuple[Result, ...]
    totals: Totals
    seconds: float

    @property
    def clean(self) -> bool:
        """Tell whether every invariant holds."""
        return all(result.holds for result in self.results)


EVIDENCE_ROWS_MAX: Final = 20
"""Rows shown per check and shard; one is enough to start digging, a page of them is noise."""


class Evidence:
    """Collects what is found row by row, keeping the first rows of each check and shard."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int | None], list[str]] = defaultdict(list)
        self._found: dict[tuple[str, int | None], int] = defaultdict(int)

    def add(self, check: str, shard_id: int | None, row: str) -> None:
        """Take one row; `shard_id` None for what concerns no single shard."""
        assert check in CHECKS
        self._found[check, shard_id] += 1
        if len(self._rows[check, shard_id]) < EVIDENCE_ROWS_MAX:
            self._rows[check, shard_id].append(row)

    def findings(self) -> list[Finding]:
        """Return what was found."""
        return [
            Finding(check, shard_id, tuple(rows), self._found[check, shard_id])
            for (check, shard_id), rows in self._rows.items()
        ]


def results(findings: Iterable[Finding], checked: dict[int, int]) -> tuple[Result, ...]:
    """Sort findings by invariant; `checked` says how many rows were looked at for each."""
    by_invariant: dict[int, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_invariant[CHECKS[finding.check]].append(finding)
    return tuple(
        Result(
            number,
            title,
            checked[number],
            tuple(sorted(by_invariant[number], key=lambda finding: (finding.shard_id or 0, finding.check))),
        )
        for number, title in INVARIANTS.items()
    )
