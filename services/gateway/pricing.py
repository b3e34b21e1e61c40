"""What transfers cost their payers: fee legs after the legs that were asked for. Pure.

Each leg is priced by itself, by its own payer's product; what one payer owes for a transfer is one fee
leg, to the bank's fee account on the payer's shard. Where the accounts lie does not matter. Reversals,
and transfers whose fees are waived, cost nothing. Never here: which product an account has, what a
price is (`services/domain/fees.py`).
"""

from collections.abc import Container, Mapping
from itertools import chain
from typing import Final

from services.domain import chart, errors, limits
from services.domain.fees import Fee, PaymentKind, fee_minor
from services.gateway.columns import FEES_WAIVED, FurtherLeg, Special, Transfers, chart_side, code_of_chart_side

Tariff = Mapping[PaymentKind, Fee]
"""A product's prices; kinds of payments that are free are absent."""

_INCOME: Final = chart_side(chart.Code.FEES)
_PLAIN: Final = Special()
_KIND_BY_CODE: Final = {int(chart.Code.CASH): PaymentKind.CASH, int(chart.Code.NOSTRO): PaymentKind.EXTERNAL}


def charge(transfers: Transfers, tariffs: Mapping[int, Tariff], refused: Container[int]) -> dict[int, errors.BankError]:
    """Add the fee legs of transfers that are not refused; tell, by place, which cannot be priced.

    `tariffs` are those of payers that have any price.
    """
    owed: dict[int, dict[int, tuple[int, int]]] = {}
    rows = zip(
        range(len(transfers)),
        transfers.debit_accounts,
        transfers.credit_accounts,
        transfers.amounts_minor,
        transfers.currencies,
        strict=True,
    )
    further = (leg[:5] for leg in transfers.further_legs)
    specials = transfers.specials
    for place, payer, payee, amount, currency in chain(rows, further):
        tariff = tariffs.get(payer)
        if tariff is None or place in refused:
            continue
        minor = _price(tariff, payee, amount, specials.get(place, _PLAIN))
        if not minor:
            continue
        fees = owed.get(place)
        if fees is None:
            owed[place] = {payer: (minor, currency)}
        else:
            # In the currency of the payer's first leg: it has but one.
            before, currency_of_payer = fees.get(payer, (0, currency))
            fees[payer] = before + minor, currency_of_payer
    faults: dict[int, errors.BankError] = {}
    for place, fees in owed.items():
        if max(fees.values())[0] > limits.AMOUNT_MINOR_MAX:
            faults[place] = errors.Malformed("AMOUNT_TOO_LARGE", "legs", "the fee of so much would be too large")
            continue
        for payer, (minor, currency) in fees.items():
            transfers.further_legs.append(FurtherLeg(place, payer, _INCOME, minor, currency, True))
    return faults


def kind_of(credit: int, *, is_capture: bool) -> PaymentKind | None:
    """Tell what kind of payment a leg to an account, or to a chart name, is; None for one that is always free."""
    if is_capture:
        return PaymentKind.CAPTURE
    if credit < 0:
        return _KIND_BY_CODE.get(code_of_chart_side(credit)[0])
    if chart.is_internal(credit):
        return _KIND_BY_CODE.get(credit // 10**8 % 10**4)
    return PaymentKind.TRANSFER


def _price(tariff: Tariff, payee: int, amount_minor: int, special: Special) -> int:
    """Tell what the payer of a leg owes for it, in minor units."""
    if special.original_id or special.flags & FEES_WAIVED:
        return 0
    kind = kind_of(payee, is_capture=bool(special.hold_id))
    fee = tariff.get(kind) if kind is not None else None
    return fee_minor(fee, amount_minor) if fee is not None else 0
