"""Openings, changes and holds' commands between services: read whole, or refused for what would break the books."""

from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from memory_books import CZK, customer_account

from services.domain import chart, errors, limits
from services.ledger import wire_commands
from services.ledger.books import AccountState, Actor, Allowance, Hold, Restriction
from services.ledger.change_rows import Change
from services.ledger.changes import ACTIVE, FOLLOWERS, PENDING

A, B = customer_account(1, 1), customer_account(1, 2)
ID, HOLD_ID = b"c" * 16, b"h" * 16
MOST = limits.BALANCE_MINOR_MAX
ANNA = ledger_pb2.Actor(channel="app", subject="anna")
PLACE, INCREASE, RELEASE = (
    ledger_pb2.HoldCommand.PLACE,
    ledger_pb2.HoldCommand.INCREASE,
    ledger_pb2.HoldCommand.RELEASE,
)


def opening(**columns: Any) -> list[AccountState]:
    usual: dict[str, Any] = {"account_numbers": [A, B], "currencies": [CZK, 978], "floors_minor": [0, -MOST]}
    return wire_commands.openings(ledger_pb2.OpenAccountsRequest(**(usual | columns)))


def commanding(**changes: Any) -> Any:
    usual: dict[str, Any] = {
        "kind": PLACE,
        "command_id": HOLD_ID,
        "hold_id": HOLD_ID,
        "account_number": A,
        "amount_minor": 5,
        "currency": CZK,
        "seconds": 60,
    }
    command = ledger_pb2.HoldCommand(**(usual | changes))
    (read,) = wire_commands.hold_commands(ledger_pb2.CommandHoldsRequest(commands=[command], actor=ANNA))
    return read


def change_message(**changes: Any) -> ledger_pb2.ChangeAccountRequest:
    usual: dict[str, Any] = {"change_id": ID, "account_number": A, "reason": "x", "actor": ANNA}
    return ledger_pb2.ChangeAccountRequest(**(usual | changes))


def changing(**changes: Any) -> Change:
    return wire_commands.change(change_message(**changes))


# Openings


def test_accounts_to_open_are_read() -> None:
    assert [
        (one.number, one.currency, one.floor_minor, one.restrictions, one.customer_number, one.allowance)
        for one in opening()
    ] == [(A, CZK, 0, ACTIVE, 0, None), (B, 978, -MOST, ACTIVE, 0, None)]
    first, second = opening(
        customer_numbers=[7, 0],
        restrictions=[ACTIVE, PENDING],
        allowances=[ledger_pb2.Allowance(place=0, day_count_max=3), ledger_pb2.Allowance(place=1, day_minor_max=0)],
    )
    assert (first.customer_number, first.restrictions, first.allowance) == (7, ACTIVE, Allowance(day_count_max=3))
    assert (second.customer_number, second.restrictions, second.allowance) == (0, PENDING, Allowance(day_minor_max=0))


def test_from_one_to_the_most_accounts_are_opened_in_a_call() -> None:
    for count in (1, wire_commands.ACCOUNTS_PER_CALL_MAX):
        opened = opening(account_numbers=[A] * count, currencies=[CZK] * count, floors_minor=[0] * count)
        assert len(opened) == count


@pytest.mark.parametrize(
    ("reason", "columns"),
    [
        ("COLUMNS_INVALID", {"account_numbers": [], "currencies": [], "floors_minor": []}),
        (
            "COLUMNS_INVALID",
            {
                name: [1] * (limits.OPENINGS_PER_CALL_MAX + 1)
                for name in ("account_numbers", "currencies", "floors_minor")
            },
        ),
        ("COLUMNS_INVALID", {"currencies": [CZK]}),
        ("COLUMNS_INVALID", {"floors_minor": [0, 0, 0]}),
        ("COLUMNS_INVALID", {"customer_numbers": [7]}),
        ("COLUMNS_INVALID", {"restrictions": [ACTIVE]}),
        ("ACCOUNT_NUMBER_INVALID", {"account_numbers": [A, B + 1]}),
        ("ACCOUNT_NUMBER_INVALID", {"account_numbers": [A, -96]}),
        ("ACCOUNT_NUMBER_INVALID", {"account_numbers": [A, 10**16 + 98 - 10**16 % 97]}),
        ("ACCOUNT_RESERVED", {"account_numbers": [A, chart.transit_account(1, 2, CZK)]}),
        ("CURRENCY_UNKNOWN", {"currencies": [CZK, 0]}),
        ("CURRENCY_UNKNOWN", {"currencies": [CZK, 1_000]}),
        ("FLOOR_INVALID", {"floors_minor": [0, 1]}),
        ("FLOOR_INVALID", {"floors_minor": [0, -MOST - 1]}),
        ("STATE_INVALID", {"restrictions": [ACTIVE, int(Restriction.CLOSED)]}),
        ("PLACE_INVALID", {"allowances": [ledger_pb2.Allowance(place=2)]}),
        ("PLACE_INVALID", {"allowances": [ledger_pb2.Allowance(place=-1)]}),
        ("LIMIT_INVALID", {"allowances": [ledger_pb2.Allowance(balance_minor_max=-1)]}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_openings_that_break_the_books_are_refused(reason: str, columns: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as refused:
        opening(**columns)
    assert refused.value.reason == reason


# Holds


def test_commands_on_holds_are_read_with_who_asks() -> None:
    placed = commanding(payee_account=B, reference="hotel", flags=1)
    assert placed._replace(fingerprint=0) == (
        PLACE, HOLD_ID, HOLD_ID, A, 5, CZK, 60, B, "hotel", 0, 1, Actor("app", "anna"),
    )  # fmt: skip
    increased = commanding(kind=INCREASE, command_id=ID, seconds=0, amount_minor=limits.AMOUNT_MINOR_MAX)
    assert (increased.kind, increased.command_id, increased.hold_id, increased.seconds) == (INCREASE, ID, HOLD_ID, 0)
    released = commanding(kind=RELEASE, command_id=ID, amount_minor=0, seconds=0, currency=0)
    assert (released.kind, released.amount_minor) == (RELEASE, 0)
    assert commanding(amount_minor=1, seconds=1, currency=999).currency == 999
    assert commanding(seconds=limits.HOLD_SECONDS_MAX).seconds == limits.HOLD_SECONDS_MAX


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("AMOUNT_INVALID", {"amount_minor": 0}),
        ("AMOUNT_INVALID", {"kind": INCREASE, "command_id": ID, "amount_minor": 0}),
        ("AMOUNT_INVALID", {"kind": RELEASE, "command_id": ID, "amount_minor": -1}),
        ("AMOUNT_INVALID", {"amount_minor": limits.AMOUNT_MINOR_MAX + 1}),
        ("HOLD_SECONDS_INVALID", {"seconds": 0}),
        ("HOLD_SECONDS_INVALID", {"kind": INCREASE, "command_id": ID, "seconds": -1}),
        ("HOLD_SECONDS_INVALID", {"seconds": limits.HOLD_SECONDS_MAX + 1}),
        ("HOLD_COMMAND_INVALID", {"kind": 0, "command_id": ID}),
        ("HOLD_COMMAND_INVALID", {"flags": 2}),
        ("HOLD_COMMAND_INVALID", {"command_id": ID}),
        ("HOLD_COMMAND_INVALID", {"kind": INCREASE}),
        ("HOLD_COMMAND_INVALID", {"kind": RELEASE}),
        ("ID_INVALID", {"command_id": b"c", "hold_id": b"c"}),
        ("CURRENCY_UNKNOWN", {"currency": 1_000}),
        ("CURRENCY_UNKNOWN", {"currency": -1}),
        ("TEXT_INVALID", {"reference": "\0"}),
        ("SAME_ACCOUNT", {"payee_account": A}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_commands_that_break_the_books_are_refused(reason: str, changes: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as refused:
        commanding(**changes)
    assert refused.value.reason == reason


def test_from_one_to_the_most_commands_are_read_in_their_order() -> None:
    most = wire_commands.HOLDS_PER_CALL_MAX
    for count in (0, 1, most, most + 1):
        ids = [number.to_bytes(16, "big") for number in range(count)]
        commands = [
            ledger_pb2.HoldCommand(
                kind=PLACE, command_id=each, hold_id=each, account_number=A, amount_minor=1, seconds=1
            )
            for each in ids
        ]
        request = ledger_pb2.CommandHoldsRequest(commands=commands, actor=ANNA)
        if 1 <= count <= most:
            assert [each.hold_id for each in wire_commands.hold_commands(request)] == ids
        else:
            with pytest.raises(errors.Malformed, match="commands"):
                wire_commands.hold_commands(request)


def test_a_hold_is_written_with_its_words() -> None:
    written = wire_commands.hold(Hold(HOLD_ID, A, CZK, 5, 6, B, 7, 2, 3), "hotel")
    assert written == ledger_pb2.Hold(
        hold_id=HOLD_ID,
        account_number=A,
        currency=CZK,
        amount_minor=5,
        expire_time_us=6,
        payee_account=B,
        state=2,
        captured_minor=3,
        reference="hotel",
    )


# Changes


def test_a_change_says_what_changes_and_nothing_else() -> None:
    assert changing()._replace(fingerprint=0) == Change(ID, A, None, None, None, None, "x", 0)
    for floor, cap in ((0, -1), (-MOST, MOST)):
        read = changing(floor_minor=floor, customer_day_minor_max=cap)
        assert (read.floor_minor, read.customer_day_minor_max) == (floor, cap)
    for restrictions in FOLLOWERS:
        assert changing(restrictions=restrictions).restrictions == restrictions


@pytest.mark.parametrize("value", [0, MOST])
@pytest.mark.parametrize("name", Allowance._fields)
def test_each_limit_is_set_by_itself(name: str, value: int) -> None:
    given = ledger_pb2.Allowance(**{name: value})
    assert changing(allowance=given).allowance == Allowance(**{name: value})
    replaced = changing(
        allowance=given,
        floor_minor=-5,
        replaced=ledger_pb2.StandardLimits(floor_minor=-4, allowance=ledger_pb2.Allowance(**{name: value})),
    )
    assert (replaced.floor_replaced_minor, replaced.allowance_replaced) == (-4, Allowance(**{name: value}))


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("ID_INVALID", {"change_id": b"c"}),
        ("STATE_INVALID", {"restrictions": 1_000}),
        ("FLOOR_INVALID", {"floor_minor": 1}),
        ("FLOOR_INVALID", {"floor_minor": -MOST - 1}),
        ("LIMIT_INVALID", {"customer_day_minor_max": -2}),
        ("LIMIT_INVALID", {"customer_day_minor_max": MOST + 1}),
        ("LIMIT_INVALID", {"allowance": ledger_pb2.Allowance(day_count_max=-1)}),
        ("LIMIT_INVALID", {"allowance": ledger_pb2.Allowance(balance_minor_max=MOST + 1)}),
        ("LIMIT_INVALID", {"replaced": ledger_pb2.StandardLimits()}),
        ("LIMIT_INVALID", {"replaced": ledger_pb2.StandardLimits(), "floor_minor": 0}),
        ("LIMIT_INVALID", {"replaced": ledger_pb2.StandardLimits(), "allowance": ledger_pb2.Allowance()}),
        ("TEXT_INVALID", {"reason": "\0"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_changes_that_break_the_books_are_refused(reason: str, changes: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as refused:
        changing(**changes)
    assert refused.value.reason == reason


# Fingerprints


def test_the_fingerprints_of_commands_and_changes_never_change() -> None:
    # They stand in the books for ever: a repeat after an upgrade must still be known as one.
    full = commanding(payee_account=B, reference="hotel", flags=1)
    change = changing(restrictions=4, floor_minor=-5, allowance=ledger_pb2.Allowance(day_count_max=0))
    assert [full.fingerprint, change.fingerprint] == [-3832555822891969486, -4479413012449637037]


def test_another_body_has_another_fingerprint_and_who_asks_is_no_part_of_it() -> None:
    commands = [commanding(), commanding(amount_minor=6), commanding(reference="x"), commanding(seconds=61)]
    assert len({each.fingerprint for each in commands}) == len(commands)
    changes = [changing(), changing(floor_minor=0), changing(reason="y"), changing(restrictions=ACTIVE)]
    assert len({each.fingerprint for each in changes}) == len(changes)
    ivan = ledger_pb2.Actor(channel="web", subject="ivan")
    assert changing(actor=ivan).fingerprint == changing().fingerprint
