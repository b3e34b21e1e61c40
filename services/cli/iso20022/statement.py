"""A statement in ISO 20022: camt.053.001.08, written straight through while its entries arrive.

Entries of holds move nothing and are not in it. A period that is not over closes with an interim balance
(ITBD) instead of CLBD. Never here: where the entries come from, what they must add up to.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hivecore.gateway.v1 import bank_pb2

from services.cli.amounts import format_amount
from services.cli.iso20022.writing import Sink, Xml
from services.cli.views import day_text
from services.domain import chart
from services.domain.metadata import END_TO_END_ID

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
ISSUER: Final = "HIVECORE"
"""Of proprietary codes."""

NOT_PROVIDED: Final = "NOTPROVIDED"
"""What ISO 20022 has in the place of an end-to-end id that nobody gave."""

IDENTIFICATION_CHARACTERS_MAX: Final = 35

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose statement it is, as far as the caller may know."""

    account_number: str
    external_reference: str
    display_name: str


class StatementWriter:
    """Writes one statement: `begin`, each entry, `end`."""

    def __init__(self, sink: Sink, frame: bank_pb2.Statement, holder: Holder, create_time: datetime) -> None:
        self._xml = Xml(sink)
        self._frame = frame
        self._holder = holder
        self._create_time = create_time

    def begin(self) -> None:
        """Write all that stands before the entries."""
        xml, frame = self._xml, self._frame
        time = self._create_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = _message_id(frame, self._holder)
        xml.begin("Document", xmlns=NAMESPACE)
        xml.begin("BkToCstmrStmt")
        with xml.inside("GrpHdr"):
            xml.leaf("MsgId", name)
            xml.leaf("CreDtTm", time)
        xml.begin("Stmt")
        xml.leaf("Id", name)
        xml.leaf("CreDtTm", time)
        with xml.inside("FrToDt"):
            xml.leaf("FrDtTm", f"{day_text(frame.first_date)}T00:00:00Z")
            xml.leaf("ToDtTm", f"{day_text(frame.last_date)}T23:59:59Z")
        with xml.inside("Acct"):
            self._write_account(self._holder.account_number, self._holder.external_reference)
            xml.leaf("Ccy", frame.currency_code)
            if self._holder.display_name:
                with xml.inside("Ownr"):
                    xml.leaf("Nm", self._holder.display_name)
        self._write_balance("OPBD", frame.opening_balance_minor, day_text(frame.first_date))
        closing = "CLBD" if frame.is_final else "ITBD"
        self._write_balance(closing, frame.closing_balance_minor, day_text(frame.last_date))
        with xml.inside("TxsSummry"):
            self._write_sum("TtlNtries", frame.credit_count + frame.debit_count, frame.credit_minor + frame.debit_minor)
            self._write_sum("TtlCdtNtries", frame.credit_count, frame.credit_minor)
            self._write_sum("TtlDbtNtries", frame.debit_count, frame.debit_minor)

    def entry(self, entry: bank_pb2.Entry) -> None:
        """Write one entry, unless it is a hold's."""
        if not entry.amount_minor:
            return
        xml = self._xml
        reverses = entry.is_return or bool(entry.reversed_transfer)
        with xml.inside("Ntry"):
            xml.leaf("NtryRef", str(entry.version))
            self._write_amount(entry.amount_minor)
            xml.leaf("RvslInd", "true" if reverses else "")
            with xml.inside("Sts"):
                xml.leaf("Cd", "BOOK")
            with xml.inside("BookgDt"):
                xml.leaf("Dt", day_text(entry.business_date))
            with xml.inside("ValDt"):
                xml.leaf("Dt", day_text(entry.value_date))
            xml.leaf("AcctSvcrRef", _transfer_id(entry.transfer))
            self._write_code(entry)
            with xml.inside("NtryDtls", "TxDtls"):
                self._write_details(entry)

    def end(self) -> None:
        """Write what stands after the entries."""
        for name in ("Stmt", "BkToCstmrStmt", "Document"):
            self._xml.end(name)

    def _write_details(self, entry: bank_pb2.Entry) -> None:
        xml = self._xml
        with xml.inside("Refs"):
            given = entry.metadata.get(END_TO_END_ID, "")
            xml.leaf("EndToEndId", given[:IDENTIFICATION_CHARACTERS_MAX] or NOT_PROVIDED)
            xml.leaf("TxId", _transfer_id(entry.transfer))
            for kind, name in (("HOLD", entry.hold), ("REVERSED", entry.reversed_transfer)):
                if name:
                    with xml.inside("Prtry"):
                        xml.leaf("Tp", kind)
                        xml.leaf("Ref", _transfer_id(name))
        creditor = entry.creditor if entry.HasField("creditor") else None
        side = "Cdtr" if entry.amount_minor < 0 else "Dbtr"
        with xml.inside("RltdPties"):
            if creditor is not None and creditor.creditor_name:
                with xml.inside("Cdtr", "Pty"):
                    xml.leaf("Nm", creditor.creditor_name)
            with xml.inside("CdtrAcct" if creditor is not None else f"{side}Acct"):
                account = creditor.account if creditor is not None else entry.counterparty_account
                self._write_account(account, account)
        if creditor is not None:
            with xml.inside("RltdAgts", "CdtrAgt", "FinInstnId"):
                if _BIC.fullmatch(creditor.bank_code):
                    xml.leaf("BICFI", creditor.bank_code)
                else:
                    with xml.inside("Othr"):
                        xml.leaf("Id", creditor.bank_code)
        words = (creditor.remittance_text if creditor is not None else "") or entry.reference
        if words:
            with xml.inside("RmtInf"):
                xml.leaf("Ustrd", words)

    def _write_account(self, number: str, reference: str) -> None:
        with self._xml.inside("Id"):
            if is_iban(reference):
                self._xml.leaf("IBAN", reference)
            else:
                with self._xml.inside("Othr"):
                    self._xml.leaf("Id", number)

    def _write_balance(self, code: str, balance_minor: int, day: str) -> None:
        xml = self._xml
        with xml.inside("Bal"):
            with xml.inside("Tp", "CdOrPrtry"):
                xml.leaf("Cd", code)
            self._write_amount(balance_minor)
            with xml.inside("Dt"):
                xml.leaf("Dt", day)

    def _write_amount(self, amount_minor: int) -> None:
        code = self._frame.currency_code
        self._xml.leaf("Amt", format_amount(abs(amount_minor), code), Ccy=code)
        self._xml.leaf("CdtDbtInd", "DBIT" if amount_minor < 0 else "CRDT")

    def _write_sum(self, name: str, count: int, amount_minor: int) -> None:
        with self._xml.inside(name):
            self._xml.leaf("NbOfNtries", str(count))
            self._xml.leaf("Sum", format_amount(amount_minor, self._frame.currency_code))

    def _write_code(self, entry: bank_pb2.Entry) -> None:
        """Write what kind of entry it is, in ISO's codes and in the bank's own."""
        xml = self._xml
        family, sub_family = bank_transaction_code(entry)
        with xml.inside("BkTxCd"):
            with xml.inside("Domn"):
                xml.leaf("Cd", "PMNT")
                with xml.inside("Fmly"):
                    xml.leaf("Cd", family)
                    xml.leaf("SubFmlyCd", sub_family)
            with xml.inside("Prtry"):
                xml.leaf("Cd", bank_pb2.Entry.Kind.Name(entry.kind))
                xml.leaf("Issr", ISSUER)


def bank_transaction_code(entry: bank_pb2.Entry) -> tuple[str, str]:
    """Tell family and sub-family of an entry in the domain of payments, of ISO's external code set."""
    is_debit = entry.amount_minor < 0
    if entry.is_return:
        return "ICDT", "RRTN"
    if entry.is_fee:
        return ("MDOP", "CHRG") if is_debit else ("MCOP", "CHRG")
    if entry.HasField("creditor"):
        return "ICDT", "DMCT"
    number = int(entry.counterparty_account or 0)
    if number and chart.is_internal(number):
        code, _ = chart.code_of(number)
        if code == chart.Code.CASH:
            return "CNTR", "CWDL" if is_debit else "CDPT"
        if code == chart.Code.FEES:
            return ("MDOP", "CHRG") if is_debit else ("MCOP", "CHRG")
    return ("ICDT" if is_debit else "RCDT"), "BOOK"


def is_iban(text: str) -> bool:
    """Tell an IBAN by its form and its check digits."""
    if _IBAN.fullmatch(text) is None:
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def _message_id(frame: bank_pb2.Statement, holder: Holder) -> str:
    """Name a statement: the same account and days, the same name."""
    first, last = (day_text(day).replace("-", "") for day in (frame.first_date, frame.last_date))
    return f"{holder.account_number}-{first}-{last}"


def _transfer_id(name: str) -> str:
    """Take the id out of a resource name, in the 32 digits that ISO 20022's 35 characters have room for."""
    return name.rpartition("/")[2].replace("-", "")
