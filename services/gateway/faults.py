"""What is wrong with one transfer of the public wire: read by itself, slowly, and everything told. Pure.

The authority: `validation.py` reads thousands in columns and asks here about those that look suspicious. Never
here: whether an account exists, who may use it, or where it lives.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from hivecore.gateway.v1 import bank_pb2

from services.domain import chart, errors, identifiers, limits, metadata
from services.gateway import fields
from services.gateway.columns import chart_side
from services.gateway.fields import Findings

_CHART_SIDES: Final = {
    "CASH": chart_side(chart.Code.CASH),
    "FEES": chart_side(chart.Code.FEES),
    "SUSPENSE": chart_side(chart.Code.SUSPENSE),
}
NOSTRO_NAME: Final = re.compile(f"NOSTRO\\.([A-Z0-9]{{1,{limits.BANK_CODE_CHARACTERS_MAX}}})")
_NO_ID: Final = bytes(16)

Partners = Mapping[str, int]
"""Number of each partner bank by its code."""


def read_side(text: str, partners: Partners) -> int:
    """Read a number unchecked or a chart name; 0 for neither."""
    if len(text) == 16 and text.isascii() and text.isdigit():
        return int(text)
    side = _CHART_SIDES.get(text, 0)
    if not side and (match := NOSTRO_NAME.fullmatch(text)):
        return chart_side(chart.Code.NOSTRO, partners.get(match[1], 0))
    return side


def fault(message: bank_pb2.Transfer, partners: Partners, path: str) -> errors.BankError | None:
    """Tell everything that is wrong with one transfer; None when nothing is."""
    findings = Findings(path)
    findings.take(identifiers.parse_uuid, message.transfer_id, "transfer_id", _NO_ID)
    if not message.legs:
        findings.add("LEGS_MISSING", "legs", "at least one leg")
    elif len(message.legs) > limits.LEGS_PER_TRANSFER_MAX:
        findings.add("LEGS_TOO_MANY", "legs", f"at most {limits.LEGS_PER_TRANSFER_MAX} legs")
    else:
        for number, leg in enumerate(message.legs):
            _check_leg(leg, f"legs[{number}]", findings)
    findings.text(message.reference, "reference", limits.REFERENCE_CHARACTERS_MAX)
    if not 0 <= message.fee_minor_max <= limits.AMOUNT_MINOR_MAX:
        findings.add("AMOUNT_INVALID", "fee_minor_max", f"from 0 to {limits.AMOUNT_MINOR_MAX}")
    if message.HasField("creditor"):
        _check_creditor(message, findings)
    if message.HasField("value_date"):
        findings.take(lambda _, name: fields.parse_value_date(message.value_date, name), "", "value_date", 0)
    if message.metadata:
        findings.take(lambda _, name: bool(metadata.read(message.metadata, name)), "", "metadata", False)
    return findings.error() or _partner_fault(message.legs, partners)


def _check_leg(leg: bank_pb2.Leg, path: str, findings: Findings) -> None:
    debit = findings.take(_parse_side, leg.debit_account, f"{path}.debit_account", 0)
    credit = findings.take(_parse_side, leg.credit_account, f"{path}.credit_account", 0)
    if debit < 0 and credit < 0:
        findings.add("CHART_NAMES_ON_BOTH_SIDES", f"{path}.credit_account", "name one of the two by its number")
    elif debit and debit == credit:
        findings.add("SAME_ACCOUNT", f"{path}.credit_account", "must differ from the debit account")
    if leg.amount_minor < 1:
        findings.add("AMOUNT_NOT_POSITIVE", f"{path}.amount_minor", "at least 1")
    elif leg.amount_minor > limits.AMOUNT_MINOR_MAX:
        findings.add("AMOUNT_TOO_LARGE", f"{path}.amount_minor", f"at most {limits.AMOUNT_MINOR_MAX}")
    findings.take(fields.parse_currency, leg.currency_code, f"{path}.currency_code", 0)


def _parse_side(text: str, field: str) -> int:
    """Read an account number that callers may name, or a chart name with any bank code."""
    side = read_side(text, {})
    if side < 0:
        return side
    number = identifiers.parse_account_number(text, field)
    if chart.is_transit(number):
        raise errors.Malformed("ACCOUNT_RESERVED", field, "a transit account: only crossings pass through it")
    return number


def _partner_fault(legs: Iterable[bank_pb2.Leg], partners: Partners) -> errors.BankError | None:
    for leg in legs:
        for text in (leg.debit_account, leg.credit_account):
            if (match := NOSTRO_NAME.fullmatch(text)) and match[1] not in partners:
                return errors.NotFound("PARTNER_BANK_NOT_FOUND", f"no partner bank {match[1]}", {"bank_code": match[1]})
    return None


def _check_creditor(message: bank_pb2.Transfer, findings: Findings) -> None:
    creditor = message.creditor
    code = findings.take(fields.parse_bank_code, creditor.bank_code, "creditor.bank_code", "")
    if not creditor.account:
        findings.add("CREDITOR_ACCOUNT_MISSING", "creditor.account", "at least 1 character")
    findings.text(creditor.account, "creditor.account", limits.CREDITOR_ACCOUNT_CHARACTERS_MAX)
    findings.text(creditor.creditor_name, "creditor.creditor_name", limits.DISPLAY_NAME_CHARACTERS_MAX)
    findings.text(creditor.remittance_text, "creditor.remittance_text", limits.REFERENCE_CHARACTERS_MAX)
    for leg in message.legs[: limits.LEGS_PER_TRANSFER_MAX]:
        match = NOSTRO_NAME.fullmatch(leg.credit_account)
        if code and match and match[1] != code:
            findings.add("CREDITOR_BANK_MISMATCH", "creditor.bank_code", "must be the bank of the nostro account")
            return
