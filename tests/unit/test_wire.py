"""The ledger's messages: columns become transfers, bodies get fingerprints, broken shapes are refused as a whole."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from hypothesis import given
from hypothesis import strategies as st
from memory_books import CZK, customer_account

from services.domain import chart, errors, limits
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.domain.outcomes import Outcome, Refusal
from services.ledger import wire
from services.ledger.books import AccountState, Answers, Creditor, Leg, PlaceError, Transfers
from services.ledger.reader import TransferRecord

A, B, C, FAR = (customer_account(1, 1), customer_account(1, 2), customer_account(1, 3), customer_account(2, 1))
NOWHERE = customer_account(5, 1)
INCOME = chart.internal_account(1, chart.Code.FEES, CZK)
DIRECTORY = Directory(
    1, tuple(ShardFacts(n, (), 1, 0) for n in (1, 2)), (SlotRange(0, 199, 1, 1), SlotRange(200, 299, 2, 1)), {}, (CZK,)
)


def asked(**columns: Any) -> ledger_pb2.PostTransfersRequest:
    """Ask for two transfers from A to B, except for what `columns` say."""
    usual: dict[str, Any] = {
        "shard_id": 1,
        "transfer_ids": b"1" * 16 + b"2" * 16,
        "debit_accounts": [A, A],
        "credit_accounts": [B, B],
        "amounts_minor": [100, 200],
        "currencies": [CZK, CZK],
    }
    return ledger_pb2.PostTransfersRequest(**{**usual, **columns})


def read(request: ledger_pb2.PostTransfersRequest) -> Transfers:
    return wire.transfers(request, DIRECTORY.shard_by_slot)


def further_leg(place: int = 0, debit: int = B, credit: int = C, amount: int = 5, currency: int = CZK) -> Any:
    return ledger_pb2.FurtherLeg(
        place=place, debit_account=debit, credit_account=credit, amount_minor=amount, currency=currency
    )


def a_fee(debit: int = A, credit: int = INCOME, amount: int = 3, currency: int = CZK) -> Any:
    leg = further_leg(0, debit, credit, amount, currency)
    leg.is_fee = True
    return leg


def creditor(place: int = 0, **texts: str) -> Any:
    usual = {"bank_code": "KB", "account": "19-2000145399", "creditor_name": "Jan", "remittance_text": "rent"}
    return ledger_pb2.ExternalCreditor(place=place, **{**usual, **texts})


# Reading


def test_columns_become_transfers() -> None:
    transfers = read(
        asked(
            references=["rent", ""],
            value_dates=[20_000, 0],
            further_legs=[further_leg(1), further_leg(1, C, A)],
            creditors=[creditor(1)],
        )
    )
    assert transfers.transfer_ids == [b"1" * 16, b"2" * 16]
    assert (transfers.debit_accounts, transfers.credit_accounts) == ([A, A], [B, B])
    assert (transfers.amounts_minor, transfers.currencies) == ([100, 200], [CZK, CZK])
    assert (transfers.references, transfers.value_dates) == (["rent", ""], [20_000, 0])
    assert transfers.further_legs == {1: [Leg(B, C, 5, CZK), Leg(C, A, 5, CZK)]}
    assert transfers.creditors == {1: Creditor("KB", "19-2000145399", "Jan", "rent")}
    assert (transfers.peers, transfers.payee_refusals, transfers.errors) == (None, {}, {})


def test_a_payee_on_another_shard_makes_a_crossing() -> None:
    transfers = read(asked(credit_accounts=[FAR, B]))
    assert (transfers.peers, transfers.payee_refusals, transfers.errors) == ([2, 0], {}, {})


def test_a_payee_whose_slot_nobody_has_does_not_exist() -> None:
    transfers = read(asked(credit_accounts=[B, NOWHERE]))
    assert (transfers.peers, transfers.payee_refusals) == ([0, 0], {1: Refusal.CREDIT_ACCOUNT_NOT_FOUND})


def test_a_payer_on_another_shard_is_not_decided() -> None:
    assert read(asked(debit_accounts=[A, FAR])).errors == {1: PlaceError.WRONG_SHARD}


@pytest.mark.parametrize("leg", [further_leg(0, FAR, A), further_leg(0, A, FAR)])
def test_legs_on_several_shards_are_not_decided_before_the_others_have_promised(leg: Any) -> None:
    spanning = read(asked(further_legs=[leg]))
    assert spanning.errors == {0: PlaceError.UNDECIDED}
    assert spanning.spans == {0: ((1, 1), (2, 1) if leg.debit_account == FAR else (1, 2))}


def test_a_crossing_may_take_legs_on_the_payers_shard_along() -> None:
    crossing = read(asked(credit_accounts=[FAR, B], further_legs=[further_leg(0, A, B)]))
    assert (crossing.peers, crossing.errors) == ([2, 0], {})
    spanning = read(asked(credit_accounts=[FAR, B], further_legs=[further_leg(0, A, FAR)]))
    assert (spanning.errors, spanning.spans) == ({0: PlaceError.UNDECIDED}, {0: ((1, 2), (1, 2))})
    assert spanning.peers == [0, 0]


def test_the_reversal_of_a_transfer_over_several_shards_is_decided_by_the_originals_home() -> None:
    legs: Any = {"debit_accounts": [FAR, A], "credit_accounts": [A, B], "further_legs": [further_leg(0, FAR, A)]}
    special = ledger_pb2.Special(place=0, original_id=b"9" * 16)
    assert read(asked(**legs)).errors == {0: PlaceError.WRONG_SHARD}
    reversal = read(asked(**legs, specials=[special]))
    assert (reversal.errors, reversal.spans) == ({0: PlaceError.UNDECIDED}, {0: ((2, 1), (2, 1))})


# Fingerprints


CHANGES: dict[str, Callable[[], ledger_pb2.PostTransfersRequest]] = {
    "debit account": lambda: asked(debit_accounts=[C, A]),
    "credit account": lambda: asked(credit_accounts=[C, B]),
    "amount": lambda: asked(amounts_minor=[101, 200]),
    "currency": lambda: asked(currencies=[978, CZK]),
    "reference": lambda: asked(references=["x", ""]),
    "other reference": lambda: asked(references=["y", ""]),
    "value date": lambda: asked(value_dates=[20_000, 0]),
    "further leg": lambda: asked(further_legs=[further_leg()]),
    "two further legs": lambda: asked(further_legs=[further_leg(), further_leg()]),
    "further leg's debit account": lambda: asked(further_legs=[further_leg(debit=A)]),
    "further leg's credit account": lambda: asked(further_legs=[further_leg(credit=A)]),
    "further leg's amount": lambda: asked(further_legs=[further_leg(amount=6)]),
    "further leg's currency": lambda: asked(further_legs=[further_leg(currency=978)]),
    "creditor": lambda: asked(creditors=[creditor()]),
    "creditor's bank": lambda: asked(creditors=[creditor(bank_code="CS")]),
    "creditor's account": lambda: asked(creditors=[creditor(account="19-2000145400")]),
    "creditor's name": lambda: asked(creditors=[creditor(creditor_name="Jana")]),
    "remittance text": lambda: asked(creditors=[creditor(remittance_text="Rent")]),
    "creditor's texts divided otherwise": lambda: asked(creditors=[creditor(bank_code="KB1", account="9-2000145399")]),
}


def test_every_field_of_the_body_changes_the_fingerprint() -> None:
    plain, other = read(asked()).fingerprints
    found = {name: read(request()).fingerprints for name, request in CHANGES.items()}
    assert len({plain, *(changed for changed, _ in found.values())}) == 1 + len(CHANGES)
    # What stands beside the changed transfer keeps its own.
    assert {untouched for _, untouched in found.values()} == {other}


def test_only_the_body_makes_the_fingerprint() -> None:
    plain = read(asked()).fingerprints
    assert read(asked(transfer_ids=b"3" * 32)).fingerprints == plain
    assert read(asked(references=["", ""], value_dates=[0, 0])).fingerprints == plain
    assert read(asked(directory_version=0)).fingerprints == plain


def test_a_fee_is_no_part_of_what_the_caller_asked_but_the_most_agreed_to_is() -> None:
    plain = read(asked()).fingerprints
    assert read(asked(further_legs=[a_fee()])).fingerprints == plain
    two_legs = [further_leg()], [further_leg(), a_fee(), a_fee(B)]
    assert len({tuple(read(asked(further_legs=legs)).fingerprints) for legs in two_legs}) == 1
    agreed = [read(asked(specials=[ledger_pb2.Special(fee_minor_max=most)])).fingerprints[0] for most in (0, 5)]
    waived = read(asked(specials=[ledger_pb2.Special(flags=4)])).fingerprints[0]
    assert len({plain[0], *agreed, waived}) == 4


def test_a_capture_may_bear_a_fee_and_no_other_leg() -> None:
    hold = [ledger_pb2.Special(hold_id=bytes(16))]
    assert read(asked(further_legs=[a_fee()], specials=hold)).further_legs == {0: [Leg(A, INCOME, 3, CZK, True)]}
    with pytest.raises(errors.Malformed):
        read(asked(further_legs=[further_leg()], specials=hold))


def test_the_fingerprint_of_a_body_never_changes() -> None:
    # It stands in the books for ever: a repeat after an upgrade must still be known as one.
    assert read(asked()).fingerprints[0] == -2395793151194510607
    everything = asked(references=["rent", ""], value_dates=[20_000, 0], further_legs=[further_leg()])
    everything.creditors.append(creditor())
    assert read(everything).fingerprints[0] == 4165199154301612702


@given(
    st.lists(
        st.tuples(st.integers(1, 10**15), st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
        min_size=1,
        max_size=5,
    )
)
def test_place_does_not_matter_for_the_fingerprint(bodies: list[tuple[int, str]]) -> None:
    def fingerprints(chosen: Iterable[tuple[int, str]]) -> list[int]:
        amounts, texts = zip(*chosen, strict=True)
        count = len(amounts)
        return read(
            asked(
                transfer_ids=bytes(16 * count),
                debit_accounts=[A] * count,
                credit_accounts=[B] * count,
                currencies=[CZK] * count,
                amounts_minor=amounts,
                references=texts,
            )
        ).fingerprints

    assert fingerprints(reversed(bodies)) == fingerprints(bodies)[::-1]
    assert [fingerprints([body])[0] for body in bodies] == fingerprints(bodies)


# Broken shapes


LEGS_MAX = limits.LEGS_PER_TRANSFER_MAX

BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("TRANSFER_IDS_INVALID", {"transfer_ids": b"1" * 31}),
    ("COLUMNS_INVALID", {"transfer_ids": b""}),
    ("COLUMNS_INVALID", {"transfer_ids": b"1" * 16}),
    ("COLUMNS_INVALID", {"debit_accounts": [A]}),
    ("COLUMNS_INVALID", {"credit_accounts": [B, B, B]}),
    ("COLUMNS_INVALID", {"amounts_minor": []}),
    ("COLUMNS_INVALID", {"currencies": [CZK]}),
    ("COLUMNS_INVALID", {"references": ["one"]}),
    ("COLUMNS_INVALID", {"value_dates": [1, 2, 3]}),
    ("AMOUNT_INVALID", {"amounts_minor": [1, 0]}),
    ("AMOUNT_INVALID", {"amounts_minor": [-1, 1]}),
    ("AMOUNT_INVALID", {"amounts_minor": [1, limits.AMOUNT_MINOR_MAX + 1]}),
    ("AMOUNT_INVALID", {"further_legs": [further_leg(amount=0)]}),
    ("ACCOUNT_NUMBER_INVALID", {"debit_accounts": [0, A]}),
    ("ACCOUNT_NUMBER_INVALID", {"debit_accounts": [-A, A]}),
    ("ACCOUNT_NUMBER_INVALID", {"credit_accounts": [B, 10**16]}),
    ("ACCOUNT_NUMBER_INVALID", {"further_legs": [further_leg(debit=10**16)]}),
    ("SAME_ACCOUNT", {"credit_accounts": [B, A]}),
    ("SAME_ACCOUNT", {"further_legs": [further_leg(debit=C)]}),
    ("CURRENCY_UNKNOWN", {"currencies": [CZK, 0]}),
    ("CURRENCY_UNKNOWN", {"currencies": [CZK, 40_000]}),
    ("CURRENCY_UNKNOWN", {"further_legs": [further_leg(currency=1_000)]}),
    ("TEXT_INVALID", {"references": ["rent", "re\0nt"]}),
    ("TEXT_INVALID", {"creditors": [creditor(creditor_name="\0")]}),
    ("DATE_INVALID", {"value_dates": [20_000, -1]}),
    ("DATE_INVALID", {"value_dates": [20_000, 2**31 - 1]}),
    ("PLACE_INVALID", {"creditors": [creditor(2)]}),
    ("PLACE_INVALID", {"creditors": [creditor(-1)]}),
    ("PLACE_INVALID", {"further_legs": [further_leg(2)]}),
    ("LEGS_TOO_MANY", {"further_legs": [further_leg()] * LEGS_MAX}),
    ("FEE_INVALID", {"further_legs": [a_fee(credit=B)]}),
    ("FEE_INVALID", {"further_legs": [a_fee(credit=chart.internal_account(2, chart.Code.FEES, CZK))]}),
    ("FEE_INVALID", {"further_legs": [a_fee(currency=978)]}),
    ("FEE_INVALID", {"further_legs": [a_fee(debit=C)]}),
    ("FEE_INVALID", {"further_legs": [a_fee(), a_fee()]}),
    ("FEE_INVALID", {"further_legs": [a_fee(), further_leg()]}),
    ("SPECIAL_INVALID", {"further_legs": [a_fee()], "specials": [ledger_pb2.Special(original_id=bytes(16))]}),
    ("SPECIAL_INVALID", {"further_legs": [a_fee()], "specials": [ledger_pb2.Special(flags=4)]}),
    ("AMOUNT_INVALID", {"specials": [ledger_pb2.Special(fee_minor_max=-1)]}),
]


@pytest.mark.parametrize(("reason", "columns"), BROKEN, ids=lambda value: str(value)[:60])
def test_broken_shapes_are_refused_as_a_whole(reason: str, columns: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as caught:
        read(asked(**columns))
    assert caught.value.reason == reason


def test_the_largest_shapes_are_read() -> None:
    count = limits.TRANSFERS_PER_CALL_MAX
    columns = {
        "transfer_ids": 16,
        "debit_accounts": [A],
        "credit_accounts": [B],
        "amounts_minor": [1],
        "currencies": [CZK],
    }

    def of(length: int) -> ledger_pb2.PostTransfersRequest:
        filled = {name: column * length for name, column in columns.items() if name != "transfer_ids"}
        return asked(transfer_ids=bytes(16 * length), **filled)

    assert len(read(of(count)).fingerprints) == count
    with pytest.raises(errors.Malformed):
        read(of(count + 1))
    legs = read(asked(further_legs=[further_leg()] * (LEGS_MAX - 1))).further_legs[0]
    assert len(legs) == LEGS_MAX - 1


# Writing


def test_the_numbers_on_the_wire_are_those_of_the_books() -> None:
    assert {one.name: one.value for one in Outcome} == without_prefix(ledger_pb2.Outcome, "OUTCOME_")
    assert {one.name: one.value for one in PlaceError} == without_prefix(ledger_pb2.PlaceError, "PLACE_ERROR_")


def without_prefix(enumeration: Any, prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): number for name, number in enumeration.items() if number}


def test_errors_are_a_column_only_when_there_are_any() -> None:
    answers = Answers([Outcome.POSTED, Outcome.REFUSED], [0, Refusal.DEBITS_FROZEN], [5, 5], {}, {})
    response = wire.answered(answers)
    assert (list(response.outcomes), list(response.refusals), list(response.booking_times_us)) == (
        [1, 2],
        [0, 70],
        [5, 5],
    )
    assert not response.errors
    answers.errors[1] = PlaceError.TRANSFER_ID_REUSED
    assert list(wire.answered(answers).errors) == [0, PlaceError.TRANSFER_ID_REUSED]


def test_which_legs_were_refused_is_told_by_place() -> None:
    answers = Answers([Outcome.REFUSED] * 3, [Refusal.DEBITS_FROZEN] * 3, [5] * 3, {}, {}, {2: 4, 0: 1}, [1])
    response = wire.answered(answers)
    assert [(leg.place, leg.leg) for leg in response.refused_legs] == [(0, 1), (2, 4)]
    assert list(response.repeats) == [1]


def test_a_transfer_is_written_with_all_its_legs() -> None:
    legs = (Leg(A, B, 100, CZK), Leg(B, C, 50, CZK))
    paid = Creditor("KB", "1", "Jan", "rent")
    record = TransferRecord(
        b"1" * 16, legs, 1, Outcome.POSTED, 0, "rent", paid, 5, 20_000, 20_001, 0, None, 0, b"", 0, 0, (("order", "7"),)
    )
    written = wire.record(record)
    assert dict(written.metadata) == {"order": "7"}
    assert [(leg.debit_account, leg.credit_account, leg.amount_minor) for leg in written.legs] == [
        (A, B, 100),
        (B, C, 50),
    ]
    assert (written.outcome, written.reference, written.creditor.creditor_name) == (Outcome.POSTED, "rent", "Jan")
    assert (written.booking_time_us, written.business_date, written.value_date) == (5, 20_000, 20_001)


def test_balances_come_in_the_order_asked_for_with_gaps_where_there_is_no_account() -> None:
    cash = chart.internal_account(1, chart.Code.CASH, CZK)
    response = wire.balances(
        [B, NOWHERE, cash], {cash: AccountState(cash, CZK, -9, 0, 3, -5), B: AccountState(B, CZK, 0)}
    )
    assert list(response.found) == [True, False, True]
    assert (list(response.balances_minor), list(response.floors_minor)) == ([0, 0, -5], [0, 0, -9])
    assert (list(response.versions), list(response.currencies)) == ([0, 0, 3], [CZK, 0, CZK])
