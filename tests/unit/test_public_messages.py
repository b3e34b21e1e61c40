"""What callers are shown is what the records and the books say, and what ledgers are asked is what callers asked."""

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors, identifiers
from services.domain.outcomes import Outcome, Refusal
from services.gateway import wire
from services.gateway.authentication import Caller
from services.gateway.columns import (
    FEES_WAIVED,
    LIMITS_OVERRIDDEN,
    OVERDRAW,
    Actor,
    Creditor,
    FurtherLeg,
    Special,
    Transfers,
)

CZK = 203
A, B, C, INCOME = (identifiers.account_number(3, serial) for serial in range(1, 5))
A_TEXT, B_TEXT, C_TEXT, INCOME_TEXT = (identifiers.account_text(number) for number in (A, B, C, INCOME))
CUSTOMER = identifiers.customer_number(3, 9)
ID, HOLD, ORIGINAL = UUID(int=7), UUID(int=8), UUID(int=9)
MOMENT_US = 1_700_000_000_123_456
MOMENT = Timestamp(seconds=1_700_000_000, nanos=123_456_000)


# Asked of a ledger


def test_a_ledger_is_asked_for_all_that_callers_asked() -> None:
    transfers = Transfers(
        ID.bytes + HOLD.bytes,
        [A, B],
        [B, A],
        [100, 200],
        [CZK, 978],
        references=["rent", ""],
        value_dates=[0, 20_000],
        creditors=[Creditor(1, "0800", "123", "Jan", "for June")],
        further_legs=[FurtherLeg(0, A, C, 5, CZK), FurtherLeg(0, A, INCOME, 3, CZK, is_fee=True)],
        specials={0: Special(flags=FEES_WAIVED, fee_minor_max=0), 1: Special(HOLD.bytes, ORIGINAL.bytes, OVERDRAW)},
        metadata={1: (("order", "7"), ("shop", "x"))},
        actors=[Actor("app", "anna"), Actor("web", "ivan")],
        actor_places=[1, 0],
    )
    leg = ledger_pb2.FurtherLeg(place=0, debit_account=A, credit_account=C, amount_minor=5, currency=CZK)
    fee = ledger_pb2.FurtherLeg(place=0, debit_account=A, credit_account=INCOME, amount_minor=3, currency=CZK)
    fee.is_fee = True
    assert wire.post_request(4, transfers, 12) == ledger_pb2.PostTransfersRequest(
        shard_id=4,
        directory_version=12,
        transfer_ids=ID.bytes + HOLD.bytes,
        debit_accounts=[A, B],
        credit_accounts=[B, A],
        amounts_minor=[100, 200],
        currencies=[CZK, 978],
        references=["rent", ""],
        value_dates=[0, 20_000],
        creditors=[
            ledger_pb2.ExternalCreditor(
                place=1, bank_code="0800", account="123", creditor_name="Jan", remittance_text="for June"
            )
        ],
        further_legs=[leg, fee],
        specials=[
            ledger_pb2.Special(place=0, flags=FEES_WAIVED, fee_minor_max=0),
            ledger_pb2.Special(place=1, hold_id=HOLD.bytes, original_id=ORIGINAL.bytes, flags=OVERDRAW),
        ],
        metadata=[ledger_pb2.Metadata(place=1, pairs={"order": "7", "shop": "x"})],
        actors=[ledger_pb2.Actor(channel="app", subject="anna"), ledger_pb2.Actor(channel="web", subject="ivan")],
        actor_places=[1, 0],
    )


def test_a_ledger_is_told_who_asks() -> None:
    caller = Caller("anna", "app", frozenset(), None, 0.0)
    assert wire.actor(caller) == ledger_pb2.Actor(channel="app", subject="anna")


# Refusals


def test_the_leg_that_is_to_blame_is_named_when_there_are_several() -> None:
    alone = wire.refusal_error(ID.bytes, Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS)
    assert (alone.reason, alone.metadata) == ("INSUFFICIENT_FUNDS", {"transfer_id": str(ID), "state": "REFUSED"})
    for leg in (0, 3):
        named = wire.refusal_error(ID.bytes, Outcome.RETURNED, Refusal.CREDITS_FROZEN, leg)
        assert named.metadata == {"transfer_id": str(ID), "state": "RETURNED", "leg": str(leg)}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("REQUEST_ID_REUSED", errors.Conflict),
        ("BANK_FULL", errors.Refused),
        ("CUSTOMER_NOT_FOUND", errors.NotFound),
        ("SHARD_UNREACHABLE", errors.Unavailable),
    ],
)
def test_why_nothing_was_opened_is_told_with_whether_to_try_again(reason: str, kind: type[errors.BankError]) -> None:
    told = wire.opening_error(account_pb2.PlaceError(reason=reason, message="in words"))
    assert (type(told), told.reason) == (kind, reason)
    assert "in words" in str(told)


@pytest.mark.parametrize(
    ("number", "reason", "kind"),
    [
        (ledger_pb2.PLACE_ERROR_TRANSFER_ID_REUSED, "TRANSFER_ID_REUSED", errors.Conflict),
        (ledger_pb2.PLACE_ERROR_PAYEE_SHARD_UNREACHABLE, "PAYEE_SHARD_UNREACHABLE", errors.Unavailable),
        (ledger_pb2.PLACE_ERROR_UNDECIDED, "TRANSFER_UNDECIDED", errors.Unavailable),
        (ledger_pb2.PLACE_ERROR_OUTCOME_UNKNOWN, "OUTCOME_UNKNOWN", errors.OutcomeUnknown),
        (ledger_pb2.PLACE_ERROR_ORIGINAL_IN_TRANSIT, "ORIGINAL_IN_TRANSIT", errors.Unavailable),
    ],
)
def test_why_there_is_no_outcome_is_told_so_that_callers_know_whether_to_send_the_same_again(
    number: int, reason: str, kind: type[errors.BankError]
) -> None:
    told = wire.place_error(number, ID.bytes)
    assert (type(told), told.reason) == (kind, reason)


# Transfers


def _asked(**given: Any) -> bank_pb2.Transfer:
    return bank_pb2.Transfer(transfer_id=str(ID), reference="rent", metadata={"order": "7"}, **given)


def _alone(**given: Any) -> Transfers:
    usual: dict[str, Any] = {"actors": [Actor("app", "anna")]}
    return Transfers(ID.bytes, [A], [B], [100], [CZK], **{**usual, **given})


def test_a_posted_transfer_is_shown_with_its_fees_and_without_what_nobody_asked_for() -> None:
    fees = [FurtherLeg(0, A, C, 5, CZK), FurtherLeg(0, A, INCOME, 3, CZK, is_fee=True)]
    shown = wire.posted_transfer(_asked(), _alone(further_legs=fees), Outcome.POSTED, MOMENT_US)
    assert shown == bank_pb2.Transfer(
        name=f"accounts/{A_TEXT}/transfers/{ID}",
        transfer_id=str(ID),
        legs=[
            bank_pb2.Leg(debit_account=A_TEXT, credit_account=B_TEXT, amount_minor=100, currency_code="CZK"),
            bank_pb2.Leg(debit_account=A_TEXT, credit_account=C_TEXT, amount_minor=5, currency_code="CZK"),
            bank_pb2.Leg(
                debit_account=A_TEXT, credit_account=INCOME_TEXT, amount_minor=3, currency_code="CZK", is_fee=True
            ),
        ],
        reference="rent",
        state=bank_pb2.Transfer.POSTED,
        booking_time=MOMENT,
        fee_minor=3,
        actor="anna",
        channel="app",
        metadata={"order": "7"},
    )


def test_a_posted_transfer_is_shown_with_everything_that_was_asked_for() -> None:
    creditor = bank_pb2.ExternalCreditor(bank_code="0800", account="123")
    asked = _asked(creditor=creditor, value_date=Date(year=2026, month=2, day=28))
    special = Special(HOLD.bytes, flags=LIMITS_OVERRIDDEN | FEES_WAIVED, fee_minor_max=0)
    shown = wire.posted_transfer(asked, _alone(specials={0: special}), Outcome.IN_TRANSIT, MOMENT_US)
    assert (shown.creditor, shown.value_date) == (creditor, Date(year=2026, month=2, day=28))
    assert shown.captured_hold == f"accounts/{A_TEXT}/holds/{HOLD}"
    assert (shown.override_limits, shown.waive_fees) == (True, True)
    assert shown.HasField("fee_minor_max")
    assert shown.state == bank_pb2.Transfer.IN_TRANSIT
    for flags in (LIMITS_OVERRIDDEN, FEES_WAIVED):
        one = wire.posted_transfer(asked, _alone(specials={0: Special(flags=flags)}), Outcome.POSTED, 0)
        assert (one.override_limits, one.waive_fees) == (flags == LIMITS_OVERRIDDEN, flags == FEES_WAIVED)


def test_who_is_paid_elsewhere_is_shown_as_it_was_given() -> None:
    texts = {"bank_code": "0800", "account": "123", "creditor_name": "Jan", "remittance_text": "for June"}
    kept = ledger_pb2.ExternalCreditor(place=5, **texts)
    assert wire.external_creditor(kept) == bank_pb2.ExternalCreditor(**texts)


# Holds and balances


@pytest.mark.parametrize("payee", [0, C])
def test_a_hold_is_shown_whole_and_with_a_payee_only_if_it_has_one(payee: int) -> None:
    kept = ledger_pb2.Hold(
        hold_id=HOLD.bytes,
        account_number=A,
        currency=CZK,
        amount_minor=70,
        expire_time_us=MOMENT_US,
        payee_account=payee,
        state=2,
        captured_minor=60,
        reference="hotel",
    )
    assert wire.hold(kept) == bank_pb2.Hold(
        name=f"accounts/{A_TEXT}/holds/{HOLD}",
        hold_id=str(HOLD),
        account=A_TEXT,
        amount_minor=70,
        currency_code="CZK",
        payee_account=C_TEXT if payee else "",
        reference="hotel",
        state=bank_pb2.Hold.CAPTURED,
        expire_time=MOMENT,
        captured_minor=60,
    )


def test_available_is_what_may_go_until_the_floor_is_reached() -> None:
    shown = wire.balance(A, CZK, 1_000, 300, -50, 4)
    assert shown == bank_pb2.Balance(
        name=f"accounts/{A_TEXT}/balance",
        currency_code="CZK",
        balance_minor=1_000,
        held_minor=300,
        available_minor=750,
        version=4,
    )


# Customers and accounts

OPENED = {"channel": "branch", "subject": "clerk", "request_id": ID.bytes}
OPENED_SHOWN = {"channel": "branch", "actor": "clerk", "request_id": str(ID)}


@pytest.mark.parametrize(("kept", "shown"), [(OPENED, OPENED_SHOWN), ({}, {})])
def test_a_customer_is_shown_with_who_opened_it_where_that_is_known(kept: Any, shown: Any) -> None:
    record = account_pb2.Customer(
        customer_number=CUSTOMER, external_reference="x-1", display_name="Anna", create_time_us=MOMENT_US, **kept
    )
    number = identifiers.customer_text(CUSTOMER)
    assert wire.customer(record) == bank_pb2.Customer(
        name=f"customers/{number}",
        customer_number=number,
        external_reference="x-1",
        display_name="Anna",
        create_time=MOMENT,
        **shown,
    )


@pytest.mark.parametrize(("kept", "shown"), [(OPENED, OPENED_SHOWN), ({}, {})])
@pytest.mark.parametrize(("version", "product"), [(0, ""), (2, "products/BASIC/versions/2")])
def test_an_account_is_shown_whole(kept: Any, shown: Any, version: int, product: str) -> None:
    record = account_pb2.Account(
        account_number=A,
        customer_number=CUSTOMER,
        currency=CZK,
        external_reference="a-1",
        state=bank_pb2.Account.OPENING,
        create_time_us=MOMENT_US,
        product_code="BASIC" if version else "",
        product_version=version,
        **kept,
    )
    assert wire.account(record) == bank_pb2.Account(
        name=f"accounts/{A_TEXT}",
        account_number=A_TEXT,
        customer=f"customers/{identifiers.customer_text(CUSTOMER)}",
        currency_code="CZK",
        external_reference="a-1",
        state=bank_pb2.Account.OPENING,
        create_time=MOMENT,
        product=product,
        **shown,
    )


@pytest.mark.parametrize(
    ("restrictions", "state"),
    [(None, "ACTIVE"), (0, "ACTIVE"), (1, "DEBITS_FROZEN"), (2, "CREDITS_FROZEN"), (3, "FROZEN"), (4, "CLOSED"),
     (16, "PENDING"), (32, "DORMANT")],
)  # fmt: skip
def test_the_state_of_an_open_account_is_what_the_books_forbid_it(restrictions: int | None, state: str) -> None:
    def shown(recorded: Any) -> str:
        record = account_pb2.Account(account_number=A, customer_number=CUSTOMER, currency=CZK, state=recorded)
        return bank_pb2.Account.State.Name(wire.account(record, restrictions).state)

    assert shown(bank_pb2.Account.ACTIVE) == state
    assert shown(bank_pb2.Account.OPENING) == "OPENING"


# Times


@pytest.mark.parametrize("text", ["1969-12-31", "1970-01-01", "2024-02-29", "2026-11-28", "9999-12-31"])
def test_days_are_counted_from_1970(text: str) -> None:
    it = date.fromisoformat(text)
    days = (it - date(1970, 1, 1)).days
    assert wire.day(days) == Date(year=it.year, month=it.month, day=it.day)


@pytest.mark.parametrize("microseconds", [0, 1, 999_999, 1_000_000, MOMENT_US, -1])
def test_moments_are_kept_to_the_microsecond(microseconds: int) -> None:
    assert wire.timestamp(microseconds).ToMicroseconds() == microseconds
