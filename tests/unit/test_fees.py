"""What payments cost: exact integers against a slow obvious model with fractions; and fee legs for payers."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import chart, fees, limits, products
from services.domain.fees import Fee, Method, PaymentKind, Tier, fee_minor
from services.domain.identifiers import account_number
from services.gateway.columns import FEES_WAIVED, FurtherLeg, Special, Transfers, chart_side
from services.gateway.pricing import charge, kind_of

PAYER, OTHER, PAYEE = (account_number(0, serial) for serial in (1, 2, 3))
CZK = 203
INCOME = chart_side(chart.Code.FEES)
SLAB, GRADUATED = Method.SLAB, Method.GRADUATED


def slowly(fee: Fee, amount: int) -> int:
    """Price an amount with fractions, a minor unit of it at a time where tiers are graduated by hand."""
    tiers = fee.tiers
    if fee.method == SLAB:
        (tier,) = [each for each in tiers if each.from_minor <= amount][-1:]
        price = tier.fixed_minor + Fraction(tier.rate_ppm, 1_000_000) * amount
    else:
        price = Fraction(0)
        for place, tier in enumerate(tiers):
            end = tiers[place + 1].from_minor if place + 1 < len(tiers) else amount
            inside = max(0, min(end, amount) - tier.from_minor)
            if inside:
                price += tier.fixed_minor + Fraction(tier.rate_ppm, 1_000_000) * inside
    rounded = floor(price + Fraction(1, 2))
    rounded = max(rounded, fee.minor_min)
    return rounded if fee.minor_max is None else min(rounded, fee.minor_max)


TIERS = st.lists(
    st.tuples(st.integers(1, 5_000), st.integers(0, 900), st.integers(0, fees.RATE_PPM_MAX)), min_size=1, max_size=5
)


@st.composite
def prices(draw: st.DrawFn) -> Fee:
    steps = draw(TIERS)
    begin, tiers = 0, []
    for step, fixed, rate in steps:
        tiers.append(Tier(begin, fixed, rate))
        begin += step
    least = draw(st.integers(0, 500))
    most = draw(st.none() | st.integers(least, 5_000))
    return Fee(PaymentKind.TRANSFER, draw(st.sampled_from(Method)), tuple(tiers), least, most)


@given(prices(), st.integers(1, 30_000) | st.integers(1, limits.AMOUNT_MINOR_MAX))
def test_prices_are_those_of_the_slow_model_with_fractions(fee: Fee, amount: int) -> None:
    assert fee_minor(fee, amount) == slowly(fee, amount)


@given(prices())
def test_graduated_prices_never_fall_when_the_amount_grows(fee: Fee) -> None:
    graduated = fee._replace(method=GRADUATED)
    amounts = sorted({1, 2, *(tier.from_minor + by for tier in fee.tiers for by in (0, 1, 2) if tier.from_minor + by)})
    found = [fee_minor(graduated, amount) for amount in amounts]
    assert found == sorted(found)


def plain(fixed: int = 0, rate: int = 0, least: int = 0, most: int | None = None) -> Fee:
    return Fee(PaymentKind.TRANSFER, SLAB, (Tier(0, fixed, rate),), least, most)


@pytest.mark.parametrize(
    ("fee", "amount", "price"),
    [
        (plain(300), 1, 300),
        (plain(rate=2_500), 200, 1),  # 0.5 goes up
        (plain(rate=2_500), 199, 0),
        (plain(rate=2_500), 600, 2),  # 1.5 goes up
        (plain(100, 2_500), 600, 102),
        (plain(rate=2_500, least=500, most=900), 1, 500),
        (plain(rate=2_500, least=500, most=900), 300_000, 750),
        (plain(rate=2_500, least=500, most=900), 10**9, 900),
        (Fee(PaymentKind.TRANSFER, SLAB, (Tier(0, 10, 0), Tier(1_000, 50, 0))), 999, 10),
        (Fee(PaymentKind.TRANSFER, SLAB, (Tier(0, 10, 0), Tier(1_000, 50, 0))), 1_000, 50),
        (Fee(PaymentKind.TRANSFER, GRADUATED, (Tier(0, 10, 0), Tier(1_000, 50, 0))), 1_000, 10),
        (Fee(PaymentKind.TRANSFER, GRADUATED, (Tier(0, 10, 0), Tier(1_000, 50, 0))), 1_001, 60),
    ],
)
def test_each_form_of_price(fee: Fee, amount: int, price: int) -> None:
    assert fee_minor(fee, amount) == price


def test_the_dearest_price_of_the_largest_amount_is_an_amount() -> None:
    dearest = Tier(0, fees.FIXED_MINOR_MAX, fees.RATE_PPM_MAX)
    tiers = tuple(dearest._replace(from_minor=place) for place in range(fees.TIERS_MAX))
    for method in Method:
        fee = Fee(PaymentKind.TRANSFER, method, tiers)
        product = products.Product("X", 1, "x", CZK, products.Kind.CURRENT, fees=(fee,))
        assert list(products.faults(product)) == []
        assert fee_minor(fee, limits.AMOUNT_MINOR_MAX) <= limits.AMOUNT_MINOR_MAX


# Fee legs


def transfers(*rows: tuple[int, int, int]) -> Transfers:
    payers, payees, amounts = map(list, zip(*rows, strict=True))
    return Transfers(bytes(16 * len(rows)), payers, payees, amounts, [CZK] * len(rows))


EVERYTHING = {kind: plain(10 * kind)._replace(kind=kind) for kind in PaymentKind}


@pytest.mark.parametrize(
    ("credit", "kind"),
    [
        (PAYEE, PaymentKind.TRANSFER),
        (chart_side(chart.Code.CASH), PaymentKind.CASH),
        (chart_side(chart.Code.NOSTRO, 7), PaymentKind.EXTERNAL),
        (chart_side(chart.Code.FEES), None),
        (chart_side(chart.Code.SUSPENSE), None),
        (chart.internal_account(2, chart.Code.NOSTRO, CZK, 7), PaymentKind.EXTERNAL),
        (chart.internal_account(1, chart.Code.CASH, CZK), PaymentKind.CASH),
        (chart.internal_account(1, chart.Code.FEES, CZK), None),
    ],
)
def test_what_a_payment_is_follows_from_who_is_paid(credit: int, kind: PaymentKind | None) -> None:
    assert kind_of(credit, is_capture=False) == kind
    assert kind_of(credit, is_capture=True) == PaymentKind.CAPTURE


def test_each_payer_owes_one_leg_for_all_that_it_pays_in_a_transfer() -> None:
    asked = transfers((PAYER, PAYEE, 100), (OTHER, PAYEE, 100), (PAYER, chart_side(chart.Code.CASH), 5))
    asked.further_legs = [
        FurtherLeg(0, PAYER, chart_side(chart.Code.CASH), 7, CZK),
        FurtherLeg(0, OTHER, PAYEE, 7, CZK),
        FurtherLeg(1, PAYER, PAYEE, 7, CZK),
    ]
    assert charge(asked, {PAYER: EVERYTHING}, {1}) == {}
    assert asked.further_legs[3:] == [
        FurtherLeg(0, PAYER, INCOME, 10 + 30, CZK, True),
        FurtherLeg(2, PAYER, INCOME, 30, CZK, True),
    ]


def test_reversals_and_waived_transfers_cost_nothing_and_captures_their_own_price() -> None:
    asked = transfers(*[(PAYER, PAYEE, 100)] * 3)
    asked.specials = {0: Special(original_id=b"o" * 16), 1: Special(flags=FEES_WAIVED), 2: Special(hold_id=b"h" * 16)}
    assert charge(asked, {PAYER: EVERYTHING}, ()) == {}
    assert asked.further_legs == [FurtherLeg(2, PAYER, INCOME, 40, CZK, True)]


def test_a_free_payment_has_no_leg_of_nothing() -> None:
    asked = transfers((PAYER, PAYEE, 1))
    assert charge(asked, {PAYER: {PaymentKind.TRANSFER: plain(rate=10)}}, ()) == {}
    assert asked.further_legs == []


def test_fees_that_add_up_to_more_than_an_amount_are_refused() -> None:
    asked = transfers((PAYER, PAYEE, limits.AMOUNT_MINOR_MAX))
    asked.further_legs = [FurtherLeg(0, PAYER, PAYEE, limits.AMOUNT_MINOR_MAX, CZK)] * 2
    tariffs = {PAYER: {PaymentKind.TRANSFER: plain(rate=500_000)}}
    faults = charge(asked, tariffs, ())
    assert [fault.reason for fault in faults.values()] == ["AMOUNT_TOO_LARGE"]
    assert len(asked.further_legs) == 2
    del asked.further_legs[1:]
    assert charge(asked, tariffs, ()) == {}
    assert asked.further_legs[1:] == [FurtherLeg(0, PAYER, INCOME, limits.AMOUNT_MINOR_MAX, CZK, True)]


def test_every_payer_of_a_transfer_owes_its_own_fee() -> None:
    asked = transfers((PAYER, PAYEE, 100))
    asked.further_legs = [FurtherLeg(0, OTHER, PAYEE, 7, CZK), FurtherLeg(0, OTHER, INCOME, 7, CZK)]
    assert charge(asked, {PAYER: EVERYTHING, OTHER: EVERYTHING}, ()) == {}
    assert asked.further_legs[2:] == [FurtherLeg(0, payer, INCOME, 10, CZK, True) for payer in (PAYER, OTHER)]


def test_nobody_owes_for_what_is_refused_or_has_no_price() -> None:
    asked = transfers((OTHER, PAYEE, 100), (PAYER, PAYEE, 100), (PAYER, PAYEE, 100), (PAYER, INCOME, 100))
    assert charge(asked, {PAYER: {PaymentKind.CASH: plain(5)}}, ()) == {}
    assert charge(asked, {PAYER: EVERYTHING}, {1, 2}) == {}
    assert asked.further_legs == []
