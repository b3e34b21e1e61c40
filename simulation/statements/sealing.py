"""What sealing the journal and proving its seals ask.

Never here: the form of a row (`simulation/forms.py`), how a hash is made (`services/ledger/chain.py`).
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from services.ledger.chain import NO_ROWS
from simulation import forms
from simulation.statements.registry import one, records, statement
from simulation.tables import Record

if TYPE_CHECKING:
    from simulation.database import Session

_SEAL = ("first_sequence", "last_sequence", "row_count", "previous_hash", "hash", "marks")


@statement
def head(session: "Session") -> list[Record]:
    return one(last_sequence=session.database.head["last_sequence"])


@statement
def last_seal(session: "Session") -> list[Record]:
    seals = session.table("seal").rows
    return records(("last_sequence", "hash"), seals[-1:])


@statement
def sealed_through(session: "Session") -> list[Record]:
    seals = session.table("seal").rows
    return one(coalesce=seals[-1]["last_sequence"] if seals else 0)


@statement
def block_transits(session: "Session", first: int, last: int) -> list[Record]:
    legs = [
        leg
        for sequence in range(first, last + 1)
        for name in ("transfer", "further_leg")
        for leg in session.table(name).by("sequence", sequence)
    ]
    currencies = sorted({leg["currency"] for leg in legs if leg["currency"]})
    pairs = [(peer["peer_id"], currency) for peer in session.table("peer").rows for currency in currencies]
    return [Record(("peer_id", "currency"), pair) for pair in pairs]


@statement
def block_leaves(session: "Session", first: int, last: int, transits: Sequence[int], landed_max: int) -> list[Record]:
    tables = session.database.tables
    pieces: dict[int, list[bytes]] = {sequence: [] for sequence in range(first, last + 1)}
    sides = set(transits)
    for sequence, found in pieces.items():
        found.extend(forms.of_sequence(tables, sequence))
        for name in ("transfer", "further_leg"):
            for leg in tables[name].by("sequence", sequence):
                sides |= {leg["debit_account"], leg["credit_account"]}
    for number in sides:
        for row in reversed(tables["entry"].by("account_number", number)):
            if row["sequence"] < first:
                break
            if row["sequence"] <= last:
                pieces[row["sequence"]].append(forms.entry(row))
    for landed in tables["crossing_landed"].rows:
        if first - landed_max <= landed["first_sequence"] <= last:
            for number in range(landed["first_number"], landed["last_number"] + 1):
                refused = tables["crossing_refused"].get(landed["peer_id"], number)
                sequence = landed["first_sequence"] + number - landed["first_number"]
                if refused is not None and first <= sequence <= last:
                    pieces[sequence].append(forms.refused(tables, refused))
    leaves = b"".join([digest(found) if found else NO_ROWS for found in pieces.values()])
    return one(leaves=leaves, row_count=sum(map(len, pieces.values())))


def digest(found: list[bytes]) -> bytes:
    """Digest the rows of a sequence."""
    return sha256(b"".join(sorted(found))).digest()


@statement
def put_seal(session: "Session", *values: object) -> list[Record]:
    # Where another has sealed the same meanwhile, PostgreSQL may also end the transaction; the sealer begins anew after both.
    table = session.table("seal")
    if any(table.by(name, value) for name, value in zip(_SEAL[:2], values[:2], strict=True)):
        return []
    session.insert("seal", dict(zip(_SEAL, values, strict=True)) | {"seal_time": session.now_us()})
    return one(bool=True)


@statement
def seals(session: "Session", after: int, limit: int) -> list[Record]:
    rows = [row for row in session.table("seal").rows if row["last_sequence"] > after]
    return records(_SEAL, rows[:limit])


@statement
def all_leaves(session: "Session", last: int) -> list[Record]:
    tables = session.database.tables
    pieces: dict[int, list[bytes]] = {}
    for sequence in range(1, last + 1):
        pieces[sequence] = list(forms.of_sequence(tables, sequence))
    for row in tables["entry"].rows:
        if row["sequence"] <= last:
            pieces.setdefault(row["sequence"], []).append(forms.entry(row))
    for row in tables["crossing_refused"].rows:
        landed = [each for each in tables["crossing_landed"].by("peer_id", row["peer_id"])
                  if each["first_number"] <= row["number"] <= each["last_number"]]  # fmt: skip
        sequence = landed[-1]["first_sequence"] + row["number"] - landed[-1]["first_number"] if landed else 0
        if sequence <= last:
            pieces.setdefault(sequence, []).append(forms.refused(tables, row))
    found = sorted((sequence, digest(rows), len(rows)) for sequence, rows in pieces.items() if rows)
    return [Record(("sequence", "digest", "row_count"), each) for each in found]
