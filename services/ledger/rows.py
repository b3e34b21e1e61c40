"""A draft's rows in PostgreSQL's binary COPY form, table by table.

Fixed-width columns of a row are one `struct` call: length and value in turns. The tables themselves
stand in `migrations/`. Never here: a connection.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from services.chassis import binary_copy
from services.ledger.books import Creditor
from services.ledger.draft import Draft

_TRANSFER = Struct(">hiqi16siqiqiqiqiqiiiiiiihihihihihihi").pack
_ENTRY = Struct(">hiqiqiqiqiqiq").pack
_ENTRY_UNHELD = Struct(">hiqiqiqiqiqi").pack
_FURTHER_LEG = Struct(">hiqiqiqiqiqihi?").pack
_CROSSING_OUT = Struct(">hiqiqih").pack
_CROSSING_RETURNED = Struct(">hiqiqihih").pack
_CROSSING_LANDED = Struct(">hiqiqiqih").pack
_CROSSING_REFUSED = Struct(">hiqihih").pack
_ACCOUNT = Struct(">hiqiqiqiqihih").pack
_RELATION = Struct(">hiqi16siqih").pack
_VALUE_DATED = Struct(">hiqiqiqiiii").pack
_SPENDING = Struct(">hiqiqiqiqii").pack
_CUSTOMER_SPENDING = Struct(">hiqiqiqiqiiih").pack
_LEG_ROUTE = Struct(">hiqihih").pack
_DECISION_OUT = Struct(">hiqiqi16siqihihih").pack
_DECISION_LANDED = Struct(">hiqiqi16sihihih").pack
_REFUSED_LEG = Struct(">hiqih").pack
_number = Struct(">iq").pack
_length = Struct(">i").pack

COLUMNS: Final[dict[str, list[str]]] = {
    "transfer": [
        "sequence",
        "transfer_id",
        "debit_account",
        "credit_account",
        "amount_minor",
        "fingerprint",
        "booking_time",
        "business_date",
        "value_date",
        "actor_id",
        "currency",
        "kind",
        "outcome",
        "refusal",
        "leg_count",
        "flags",
        "reference",
    ],
    "entry": ["account_number", "version", "sequence", "amount_minor", "balance_after_minor", "held_after_minor"],
    "account": ["account_number", "floor_minor", "open_time", "customer_number", "currency", "restrictions"],
    "metadata": ["sequence", "key", "value"],
    "relation": ["sequence", "target_id", "amount_minor", "relation"],
    "value_dated": ["account_number", "sequence", "amount_minor", "business_date", "value_date"],
    "spending": ["account_number", "sequence", "minor", "count", "business_date"],
    "customer_spending": ["customer_number", "sequence", "minor", "count", "business_date", "currency"],
    "further_leg": [
        "sequence",
        "transfer_sequence",
        "debit_account",
        "credit_account",
        "amount_minor",
        "currency",
        "is_fee",
    ],
    "external_creditor": ["sequence", "bank_code", "account", "creditor_name", "remittance_text"],
    "crossing_out": ["number", "sequence", "peer_id"],
    "crossing_returned": ["number", "return_sequence", "peer_id", "refusal"],
    "crossing_landed": ["first_number", "last_number", "first_sequence", "peer_id"],
    "crossing_refused": ["number", "peer_id", "refusal"],
    "leg_route": ["sequence", "debit_peer", "credit_peer"],
    "decision_out": ["number", "sequence", "transfer_id", "account_number", "peer_id", "outcome", "refusal"],
    "decision_landed": ["number", "sequence", "transfer_id", "peer_id", "outcome", "refusal"],
    "refused_leg": ["sequence", "leg"],
}


def packed(draft: Draft) -> Iterable[tuple[str, list[bytes]]]:
    """Yield each table that a draft has rows for, with the rows in COPY's binary form."""
    time = draft.booking_time_us - binary_copy.MICROSECONDS_TO_2000
    if draft.opened:
        yield (
            "account",
            [
                _ACCOUNT(
                    6, 8, a.number, 8, a.floor_minor, 8, time, 8, a.customer_number, 2, a.currency, 2, a.restrictions
                )
                for a in draft.opened
            ],
        )
    if draft.transfers:
        yield "transfer", _packed_transfers(draft, time)
    if draft.entries:
        yield "entry", _packed_entries(draft)
    if draft.further_legs:
        yield (
            "further_leg",
            [
                _FURTHER_LEG(7, 8, sequence, 8, first, 8, leg[0], 8, leg[1], 8, leg[2], 2, leg[3], 1, leg[4])
                for sequence, first, leg in draft.further_legs
            ],
        )
    if draft.creditors:
        yield "external_creditor", [_packed_creditor(sequence, creditor) for sequence, creditor in draft.creditors]
    yield from _packed_special(draft)
    yield from _packed_crossings(draft)
    if draft.spans.refused_legs:
        yield "refused_leg", [_REFUSED_LEG(2, 8, sequence, 2, leg) for sequence, leg in draft.spans.refused_legs]
    if draft.spans.routes or draft.spans.verdicts or draft.spans.verdicts_landed:
        yield from _packed_promises(draft)


def _packed_special(draft: Draft) -> Iterable[tuple[str, list[bytes]]]:
    """Yield the tables that plain transfers do not touch."""
    if draft.relations:
        yield (
            "relation",
            [_RELATION(4, 8, s, 16, target, 8, amount, 2, kind) for s, kind, target, amount in draft.relations],
        )
    if draft.metadata:
        yield "metadata", [_packed_pair(sequence, *pair) for sequence, pairs in draft.metadata for pair in pairs]
    if draft.value_dated:
        day = draft.business_date - binary_copy.DAYS_TO_2000
        yield (
            "value_dated",
            [
                _VALUE_DATED(5, 8, a, 8, s, 8, amount, 4, day, 4, value - binary_copy.DAYS_TO_2000)
                for a, s, amount, value in draft.value_dated
            ],
        )
    if draft.spenders:
        yield "spending", _packed_spending(draft)
    if draft.caps:
        yield "customer_spending", _packed_customer_spending(draft)


def _packed_crossings(draft: Draft) -> Iterable[tuple[str, list[bytes]]]:
    """Yield the tables of money between shards."""
    if draft.crossings_out:
        yield "crossing_out", [_CROSSING_OUT(3, 8, n, 8, s, 2, peer) for n, s, peer in draft.crossings_out]
    if draft.crossings_returned:
        yield (
            "crossing_returned",
            [
                _CROSSING_RETURNED(4, 8, n, 8, s, 2, peer, 2, refusal)
                for n, s, peer, refusal in draft.crossings_returned
            ],
        )
    if draft.crossings_landed:
        yield (
            "crossing_landed",
            [_CROSSING_LANDED(4, 8, f, 8, last, 8, s, 2, peer) for f, last, s, peer in draft.crossings_landed],
        )
    if draft.crossings_refused:
        yield (
            "crossing_refused",
            [_CROSSING_REFUSED(3, 8, n, 2, peer, 2, refusal) for n, peer, refusal in draft.crossings_refused],
        )


def _packed_promises(draft: Draft) -> Iterable[tuple[str, list[bytes]]]:
    """Yield the tables of transfers over several shards."""
    if draft.spans.routes:
        yield "leg_route", [_LEG_ROUTE(3, 8, s, 2, payer, 2, payee) for s, payer, payee in draft.spans.routes]
    if draft.spans.verdicts:
        yield (
            "decision_out",
            [
                _DECISION_OUT(
                    7, 8, v.number, 8, s, 16, v.transfer_id, 8, v.account_number, 2, peer, 2, v.outcome, 2, v.refusal
                )
                for peer, s, v in draft.spans.verdicts
            ],
        )
    if draft.spans.verdicts_landed:
        yield (
            "decision_landed",
            [
                _DECISION_LANDED(6, 8, v.number, 8, s, 16, v.transfer_id, 2, peer, 2, v.outcome, 2, v.refusal)
                for peer, s, v in draft.spans.verdicts_landed
            ],
        )


def _packed_transfers(draft: Draft, time: int) -> list[bytes]:
    business_date = draft.business_date - binary_copy.DAYS_TO_2000
    rows = []
    for row in draft.transfers:
        (
            seq,
            transfer_id,
            debit,
            credit,
            amount,
            fingerprint,
            value,
            cur,
            kind,
            out,
            refusal,
            legs,
            text,
            actor,
            flags,
        ) = row
        reference = text.encode()
        # fmt: off
        rows.append(
            _TRANSFER(
                17, 8, seq, 16, transfer_id, 8, debit, 8, credit, 8, amount, 8, fingerprint, 8, time,
                4, business_date, 4, value - binary_copy.DAYS_TO_2000, 4, actor,
                2, cur, 2, kind, 2, out, 2, refusal, 2, legs, 2, flags, len(reference),
            )
            + reference
        )
        # fmt: on
    return rows


def _packed_entries(draft: Draft) -> list[bytes]:
    """Pack entries; NULL where nothing is held, which takes no place in the table."""
    return [
        _ENTRY(6, 8, account, 8, version, 8, sequence, 8, amount, 8, balance, 8, held)
        if held
        else _ENTRY_UNHELD(6, 8, account, 8, version, 8, sequence, 8, amount, 8, balance, -1)
        for account, version, sequence, amount, balance, held in draft.entries
    ]


def spending(draft: Draft) -> list[tuple[int, int, int, int, int]]:
    """Give the rows of `spending`: (account, sequence, minor, count, business date in days since 1970-01-01)."""
    found = []
    for number in draft.spenders:
        spent = draft.touched[number].spent
        assert spent is not None
        found.append((number, draft.sequence, spent.minor, spent.times, spent.business_date))
    return found


def customer_spending(draft: Draft) -> list[tuple[int, int, int, int, int, int]]:
    """Give the rows of `customer_spending`: (customer, sequence, minor, count, business date, currency)."""
    return [
        (customer, draft.sequence, cap.spent.minor, cap.spent.times, max(cap.spent.business_date, 1), currency)
        for (customer, currency), cap in draft.caps.items()
    ]


def _packed_spending(draft: Draft) -> list[bytes]:
    return [
        _SPENDING(5, 8, number, 8, sequence, 8, minor, 8, count, 4, day - binary_copy.DAYS_TO_2000)
        for number, sequence, minor, count, day in spending(draft)
    ]


def _packed_customer_spending(draft: Draft) -> list[bytes]:
    return [
        _CUSTOMER_SPENDING(
            *(6, 8, customer, 8, sequence, 8, minor, 8, count),
            *(4, day - binary_copy.DAYS_TO_2000, 2, currency),
        )
        for customer, sequence, minor, count, day, currency in customer_spending(draft)
    ]


def _packed_pair(sequence: int, key: str, value: str) -> bytes:
    raw_key, raw_value = key.encode(), value.encode()
    return b"".join((b"\0\3", _number(8, sequence), _length(len(raw_key)), raw_key, _length(len(raw_value)), raw_value))


def _packed_creditor(sequence: int, creditor: Creditor) -> bytes:
    texts = [text.encode() for text in creditor]
    return b"".join((b"\0\5", _number(8, sequence), *(_length(len(text)) + text for text in texts)))
