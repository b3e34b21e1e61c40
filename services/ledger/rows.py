"""A draft's rows in PostgreSQL's binary COPY form, table by table.

Fixed-width columns of a row are one `struct` call: length and value in turns. The tables themselves
stand in `migrations/`. Never here: a connection.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from services.chassis import binary_copy
from services.ledger.books import Creditor, Draft

_TRANSFER = Struct(">hiqi16siqiqiqiqiqiiiiihihihihihi").pack
_ENTRY = Struct(">hiqiqiqiqiqiq").pack
_FURTHER_LEG = Struct(">hiqiqiqiqiqih").pack
_CROSSING_OUT = Struct(">hiqiqih").pack
_CROSSING_RETURNED = Struct(">hiqiqihih").pack
_CROSSING_LANDED = Struct(">hiqiqiqih").pack
_CROSSING_REFUSED = Struct(">hiqihih").pack
_ACCOUNT = Struct(">hiqiqiqihih").pack
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
        "currency",
        "kind",
        "outcome",
        "refusal",
        "leg_count",
        "reference",
    ],
    "entry": ["account_number", "version", "sequence", "amount_minor", "balance_after_minor", "held_after_minor"],
    "account": ["account_number", "floor_minor", "open_time", "currency", "restrictions"],
    "further_leg": [
        "sequence",
        "transfer_sequence",
        "debit_account",
        "credit_account",
        "amount_minor",
        "currency",
    ],
    "external_creditor": ["sequence", "bank_code", "account", "creditor_name", "remittance_text"],
    "crossing_out": ["number", "sequence", "peer_id"],
    "crossing_returned": ["number", "return_sequence", "peer_id", "refusal"],
    "crossing_landed": ["first_number", "last_number", "first_sequence", "peer_id"],
    "crossing_refused": ["number", "peer_id", "refusal"],
}


def packed(draft: Draft) -> Iterable[tuple[str, list[bytes]]]:
    """Yield each table that a draft has rows for, with the rows in COPY's binary form."""
    time = draft.booking_time_us - binary_copy.MICROSECONDS_TO_2000
    if draft.opened:
        yield (
            "account",
            [
                _ACCOUNT(5, 8, a.number, 8, a.floor_minor, 8, time, 2, a.currency, 2, a.restrictions)
                for a in draft.opened
            ],
        )
    if draft.transfers:
        yield "transfer", _packed_transfers(draft, time)
    if draft.entries:
        yield (
            "entry",
            [
                _ENTRY(6, 8, account, 8, version, 8, sequence, 8, amount, 8, balance, 8, held)
                for account, version, sequence, amount, balance, held in draft.entries
            ],
        )
    if draft.further_legs:
        yield (
            "further_leg",
            [
                _FURTHER_LEG(6, 8, sequence, 8, first, 8, leg[0], 8, leg[1], 8, leg[2], 2, leg[3])
                for sequence, first, leg in draft.further_legs
            ],
        )
    if draft.creditors:
        yield "external_creditor", [_packed_creditor(sequence, creditor) for sequence, creditor in draft.creditors]
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


def _packed_transfers(draft: Draft, time: int) -> list[bytes]:
    business_date = draft.business_date - binary_copy.DAYS_TO_2000
    rows = []
    for (
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
    ) in draft.transfers:
        reference = text.encode()
        # fmt: off
        rows.append(
            _TRANSFER(
                15, 8, seq, 16, transfer_id, 8, debit, 8, credit, 8, amount, 8, fingerprint, 8, time,
                4, business_date, 4, value - binary_copy.DAYS_TO_2000,
                2, cur, 2, kind, 2, out, 2, refusal, 2, legs, len(reference),
            )
            + reference
        )
        # fmt: on
    return rows


def _packed_creditor(sequence: int, creditor: Creditor) -> bytes:
    texts = [text.encode() for text in creditor]
    return b"".join((b"\0\5", _number(8, sequence), *(_length(len(text)) + text for text in texts)))
