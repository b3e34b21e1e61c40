"""Reading transfers by column and reading them one by one find the same, whatever they are."""

from datetime import date
from types import ModuleType
from uuid import UUID

import pytest
from asked_transfers import (
    CASH_OF_SHARD_1,
    CZK,
    HIGHEST,
    ID,
    LOWEST,
    OTHER,
    PARTNERS,
    PAYEE,
    PAYER,
    TRANSIT,
    TWINS,
    leg,
    read,
    transfer,
)
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.domain import chart, identifiers, limits
from services.gateway import faults
from services.gateway.columns import (
    FEES_WAIVED,
    LIMITS_OVERRIDDEN,
    Creditor,
    FurtherLeg,
    Special,
    Transfers,
    chart_side,
    pick,
)

sides = st.one_of(
    st.sampled_from([f"{each:016d}" for each in (PAYER, PAYEE, OTHER, TRANSIT, CASH_OF_SHARD_1)]),
    st.sampled_from([*TWINS, "CASH", "NOSTRO.AB", "NOSTRO.XYZ", "NOSTRO.NOBODY"]),
    st.text(max_size=17),
)
amounts = st.sampled_from([0, 1, limits.AMOUNT_MINOR_MAX, limits.AMOUNT_MINOR_MAX + 1]) | st.integers(
    -(2**63), 2**63 - 1
)
codes = st.sampled_from(["CZK", "EUR"]) | st.text(max_size=3)
good_legs = st.builds(
    leg,
    debit_account=st.sampled_from([f"{PAYER:016d}", f"{CASH_OF_SHARD_1:016d}"]),
    credit_account=st.sampled_from([f"{PAYEE:016d}", f"{OTHER:016d}", "CASH", "NOSTRO.XYZ"]),
    amount_minor=st.sampled_from([1, limits.AMOUNT_MINOR_MAX]) | st.integers(1, limits.AMOUNT_MINOR_MAX),
    currency_code=st.sampled_from(["CZK", "EUR"]),
)
odd_legs = st.one_of(
    st.builds(leg, debit_account=sides),
    st.builds(leg, credit_account=sides),
    st.builds(leg, debit_account=sides, credit_account=sides),
    st.builds(leg, amount_minor=amounts),
    st.builds(leg, currency_code=codes),
)
creditors = st.builds(
    bank_pb2.ExternalCreditor,
    bank_code=st.sampled_from(["AB", "XYZ", "ab", ""]),
    account=st.sampled_from(["19-1", "", "x" * (limits.CREDITOR_ACCOUNT_CHARACTERS_MAX + 1)]) | st.text(max_size=5),
    creditor_name=st.text(max_size=5) | st.just("x" * (limits.DISPLAY_NAME_CHARACTERS_MAX + 1)),
    remittance_text=st.text(max_size=5) | st.just("x" * (limits.REFERENCE_CHARACTERS_MAX + 1)),
)
keys = st.one_of(
    st.sampled_from(["order", "k" * 40, "a.b:c_d-e"]),
    st.text("a0_ \n\u00e9", max_size=3),
    st.text(min_size=39, max_size=42),
)
good = {
    "transfer_id": st.uuids().map(str),
    "legs": st.lists(good_legs, min_size=1, max_size=3),
    "reference": st.sampled_from(["", "rent", "\u017e" * limits.REFERENCE_CHARACTERS_MAX]),
    "creditor": st.none()
    | st.builds(
        bank_pb2.ExternalCreditor,
        bank_code=st.just("XYZ"),
        account=st.sampled_from(["19-1", "1" * limits.CREDITOR_ACCOUNT_CHARACTERS_MAX]),
        creditor_name=st.sampled_from(["", "\u017dofie\u00a0N.", "x" * limits.DISPLAY_NAME_CHARACTERS_MAX]),
        remittance_text=st.sampled_from(["", "x" * limits.REFERENCE_CHARACTERS_MAX]),
    ),
    "value_date": st.none() | st.just(Date(year=2024, month=2, day=29)),
    "metadata": st.dictionaries(st.sampled_from(["order", "k" * 40]), st.sampled_from(["1", "\u017e" * 256])),
    "override_limits": st.booleans(),
    "waive_fees": st.booleans(),
    "fee_minor_max": st.none() | st.sampled_from([0, 1, limits.AMOUNT_MINOR_MAX]),
}
odd = {
    "transfer_id": st.text(max_size=36) | st.text("0123456789abcdef- ", min_size=36, max_size=36),
    "legs": st.lists(good_legs | odd_legs, max_size=3),
    "reference": st.text(max_size=150),
    "creditor": st.none() | creditors,
    "value_date": st.none()
    | st.builds(Date, year=st.integers(0, 10_000), month=st.integers(0, 13), day=st.integers(0, 32)),
    "metadata": st.dictionaries(keys, st.text("a\u00a0\u00fc\u0085\u2028\U0001f600\n", max_size=257), max_size=3),
    "fee_minor_max": st.sampled_from([-1, limits.AMOUNT_MINOR_MAX + 1]),
}
in_order = st.builds(bank_pb2.Transfer, **good)
odd_in_legs = st.builds(bank_pb2.Transfer, **(good | {"legs": st.lists(odd_legs, min_size=1, max_size=2)}))
odd_in_one_thing = st.sampled_from(sorted(odd)).flatmap(
    lambda name: st.builds(bank_pb2.Transfer, **(good | {name: odd[name]}))
)
anything = in_order | odd_in_legs | odd_in_one_thing | st.builds(bank_pb2.Transfer, **(good | odd))


def _slowly(messages: list[bank_pb2.Transfer]) -> Transfers:
    """Read transfers in which nothing is wrong, in the most obvious way."""
    transfers = Transfers(b"", [], [], [], [])
    for place, message in enumerate(messages):
        first, *further = [_slow_leg(one) for one in message.legs]
        transfers.transfer_ids += UUID(message.transfer_id).bytes
        transfers.debit_accounts.append(first[0])
        transfers.credit_accounts.append(first[1])
        transfers.amounts_minor.append(first[2])
        transfers.currencies.append(first[3])
        transfers.references.append(message.reference)
        transfers.value_dates.append(0)
        if message.HasField("value_date"):
            given = message.value_date
            transfers.value_dates[place] = (date(given.year, given.month, given.day) - date(1970, 1, 1)).days
        if message.HasField("creditor"):
            it = message.creditor
            transfers.creditors.append(Creditor(place, it.bank_code, it.account, it.creditor_name, it.remittance_text))
        transfers.further_legs += [FurtherLeg(place, *one) for one in further]
        if message.metadata:
            transfers.metadata[place] = tuple(sorted(message.metadata.items()))
        agreed = message.fee_minor_max if message.HasField("fee_minor_max") else None
        flags = LIMITS_OVERRIDDEN * message.override_limits + FEES_WAIVED * message.waive_fees
        if flags or agreed is not None:
            transfers.specials[place] = Special(flags=flags, fee_minor_max=agreed)
    return transfers


def _slow_leg(one: bank_pb2.Leg) -> tuple[int, int, int, int]:
    names = {"CASH": (chart.Code.CASH, 0), "NOSTRO.AB": (chart.Code.NOSTRO, 7), "NOSTRO.XYZ": (chart.Code.NOSTRO, 8)}
    debit, credit = (
        chart_side(*names[text]) if text in names else int(text) for text in (one.debit_account, one.credit_account)
    )
    return debit, credit, one.amount_minor, {"CZK": CZK, "EUR": 978}[one.currency_code]


@given(st.lists(anything, min_size=1, max_size=5))
def test_reading_by_column_and_reading_one_by_one_find_the_same(messages: list[bank_pb2.Transfer]) -> None:
    transfers, together = read(*messages)
    for place, message in enumerate(messages):
        authority = faults.fault(message, PARTNERS, f"transfers[{place}]")
        assert str(authority) == str(together.get(place))
    rare = {row.place for row in (*transfers.further_legs, *transfers.creditors)} | transfers.metadata.keys()
    assert not rare & together.keys()
    good = [place for place in range(len(messages)) if place not in together]
    if good:
        picked = pick(transfers, good)
        # A column that nobody uses may be left out.
        picked.references, picked.value_dates = (
            picked.references or [""] * len(good),
            picked.value_dates or [0] * len(good),
        )
        assert picked == _slowly([messages[place] for place in good])


IN_ORDER = [
    transfer(transfer_id=ID.upper()),
    transfer(leg(amount_minor=1), leg(amount_minor=limits.AMOUNT_MINOR_MAX)),
    transfer(leg(debit_account=f"{CASH_OF_SHARD_1:016d}"), leg(debit_account=f"{LOWEST:016d}")),
    transfer(leg(credit_account=f"{HIGHEST:016d}"), transfer_id=ID.lower()),
    transfer(
        reference="\u017e" * limits.REFERENCE_CHARACTERS_MAX,
        value_date={"year": 1970, "month": 1, "day": 2},
        metadata={"k": "v"},
    ),
    transfer(override_limits=True, waive_fees=True, fee_minor_max=0),
    transfer(fee_minor_max=limits.AMOUNT_MINOR_MAX),
    transfer(
        creditor={
            "bank_code": "XYZ",
            "account": "1" * limits.CREDITOR_ACCOUNT_CHARACTERS_MAX,
            "creditor_name": "x" * limits.DISPLAY_NAME_CHARACTERS_MAX,
            "remittance_text": "x" * limits.REFERENCE_CHARACTERS_MAX,
        }
    ),
]
NAMED = [
    transfer(leg(debit_account="CASH")),
    transfer(leg(credit_account="FEES")),
    transfer(leg(), leg(credit_account="NOSTRO.AB"), creditor={"bank_code": "AB", "account": "1"}),
]


@pytest.mark.parametrize(
    ("messages", "slow_ways"),
    [
        (IN_ORDER, ((faults, "fault"), (faults, "read_side"), (identifiers, "parse_uuid"))),
        (NAMED, ((faults, "fault"), (identifiers, "parse_uuid"))),
    ],
    ids=("numbers", "names"),
)
def test_what_is_in_order_is_read_by_column_alone(
    messages: list[bank_pb2.Transfer], slow_ways: tuple[tuple[ModuleType, str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for room, slow_way in slow_ways:
        monkeypatch.delattr(room, slow_way)
    _, found = read(*messages)
    assert found == {}


def test_what_is_in_order_is_read_by_column_alone_beside_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = transfer(
        leg(debit_account="?", amount_minor=0, currency_code="?"),
        transfer_id="?",
        reference="x" * (limits.REFERENCE_CHARACTERS_MAX + 1),
    )
    asked: list[bank_pb2.Transfer] = []
    monkeypatch.setattr(faults, "fault", lambda message, *_: asked.append(message))
    read(*IN_ORDER, wrong)
    assert asked == [wrong]


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        ((ID[:-1], ID[-1] + ID), [0, 1]),
        (("-" * 36, "01234567-89ab-cdef-" + "-" * 17), [0, 1]),
        ((ID, ID[:-1]), [1]),
        ((ID[:-1], ID), [0]),
    ],
)
def test_ids_that_only_together_are_as_long_as_they_ought_to_be_are_wrong(
    ids: tuple[str, str], wrong: list[int]
) -> None:
    _, found = read(*(transfer(transfer_id=text) for text in ids))
    assert sorted(found) == wrong


@pytest.mark.parametrize("texts", [(f"{PAYER:017d}", f"{PAYEE:015d}"), (f"{PAYER:015d}", f"{PAYEE:017d}")])
def test_numbers_that_only_together_are_as_long_as_they_ought_to_be_are_wrong(texts: tuple[str, str]) -> None:
    _, found = read(*(transfer(leg(debit_account=text, credit_account=f"{OTHER:016d}")) for text in texts))
    assert sorted(found) == [0, 1]
