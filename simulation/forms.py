"""The sealed form of each row of a journal, byte for byte as the functions of the ledger's migrations make it.

Never here: which rows belong to a block (`statements/sealing.py`).
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from services.chassis.binary_copy import MICROSECONDS_TO_2000
from simulation.tables import Row, Table

Tables = dict[str, Table]

_CHANGED = (
    "restrictions", "floor_minor", "balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max",
    "customer_day_minor_max", "balance_before_minor_max", "transfer_before_minor_max", "day_before_minor_max",
    "day_before_count_max",
)  # fmt: skip
_LEG = ("debit_account", "credit_account", "amount_minor", "currency", "is_fee")


def _form(*values: Any) -> bytes:
    """Join as `concat_ws` does, which passes over NULL."""
    return "|".join([_text(each) for each in (*values, "\n") if each is not None]).encode()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    return str(UUID(bytes=value)) if isinstance(value, bytes) else str(value)


def _time(time_us: int) -> str:
    return (time_us - MICROSECONDS_TO_2000).to_bytes(8, signed=True).hex()


def _sized(text: str) -> tuple[int, str]:
    return len(text.encode()), text


def _asker(tables: Tables, actor_id: int) -> tuple[Any, ...]:
    actor = tables["actor"].get(actor_id)
    words = (None, None) if actor is None else (actor["channel"], actor["subject"])
    return tuple(part for word in words for part in ((-1, "") if word is None else _sized(word)))


def _transfer(tables: Tables, row: Row) -> bytes:
    names = ("sequence", "transfer_id", "debit_account", "credit_account", "amount_minor", "fingerprint")
    days = ("business_date", "value_date", "currency", "kind", "outcome", "refusal", "leg_count", "flags")
    return _form(
        "transfer", *(row[name] for name in names), _time(row["booking_time"]), *(row[name] for name in days),
        *_sized(row["reference"]), row["actor_id"], *_asker(tables, row["actor_id"]),
    )  # fmt: skip


def _change(tables: Tables, row: Row) -> bytes:
    changed = ",".join(["~" if row[name] is None else str(row[name]) for name in _CHANGED])
    return _form(
        "account_change", row["sequence"], row["change_id"], row["account_number"], _time(row["change_time"]),
        row["fingerprint"], row["refusal"], row["restrictions_before"], row["floor_before_minor"],
        row["sets_allowance"], changed, *_sized(row["reason"]), row["actor_id"], *_asker(tables, row["actor_id"]),
    )  # fmt: skip


def _creditor(_: Tables, row: Row) -> bytes:
    texts = ("bank_code", "account", "creditor_name", "remittance_text")
    return _form("external_creditor", row["sequence"], *(part for name in texts for part in _sized(row[name])))


def _metadata(_: Tables, row: Row) -> bytes:
    return _form("metadata", row["sequence"], *_sized(row["key"]), *_sized(row["value"]))


def _plain(kind: str, *names: str) -> Callable[[Tables, Row], bytes]:
    return lambda _, row: _form(kind, *(row[name] for name in names))


_FORMS: dict[str, tuple[str, Callable[[Tables, Row], bytes]]] = {
    "transfer": ("sequence", _transfer),
    "further_leg": ("sequence", _plain("further_leg", "sequence", "transfer_sequence", *_LEG)),
    "external_creditor": ("sequence", _creditor),
    "metadata": ("sequence", _metadata),
    "relation": ("sequence", _plain("relation", "sequence", "relation", "target_id", "amount_minor")),
    "account_change": ("sequence", _change),
    "crossing_out": ("sequence", _plain("crossing_out", "sequence", "peer_id", "number")),
    "crossing_returned": (
        "return_sequence",
        _plain("crossing_returned", "return_sequence", "peer_id", "number", "refusal"),
    ),
    "crossing_landed": (
        "first_sequence",
        _plain("crossing_landed", "first_sequence", "peer_id", "first_number", "last_number"),
    ),
    "leg_route": ("sequence", _plain("leg_route", "sequence", "debit_peer", "credit_peer")),
    "decision_out": (
        "sequence",
        _plain("decision_out", "sequence", "peer_id", "number", "transfer_id", "account_number", "outcome", "refusal"),
    ),
    "decision_landed": (
        "sequence",
        _plain("decision_landed", "sequence", "peer_id", "number", "transfer_id", "outcome", "refusal"),
    ),
    "refused_leg": ("sequence", _plain("refused_leg", "sequence", "leg")),
}
"""By table: the column that says to which sequence a row belongs, and its form; entries and refused crossings are apart."""

refused = _plain("crossing_refused", "peer_id", "number", "refusal")


def entry(row: Row) -> bytes:
    """Give an entry's form; nothing held is told in two ways, and sealed in one."""
    names = ("sequence", "account_number", "version", "amount_minor", "balance_after_minor")
    return _form("entry", *(row[name] for name in names), row["held_after_minor"] or 0)


def of_sequence(tables: Tables, sequence: int) -> Iterator[bytes]:
    """Give the forms of all rows of a sequence but its entries and the crossings that it refused."""
    for name, (column, form) in _FORMS.items():
        for row in tables[name].by(column, sequence):
            yield form(tables, row)
