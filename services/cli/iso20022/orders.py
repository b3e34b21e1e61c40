"""What a pain.001 asks for, as values: group, payment informations, credit transfers.

Versions 03 to 13 differ, for what is read here, in a few names only. An element that is not named
here does not change what is paid and is passed over; one that would change it is kept as a reason to
refuse. The text of every element goes into the digest, so that a file that was changed anywhere is
another file, however it is indented. Never here: whether what is asked for is right (`checking.py`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from services.cli.iso20022 import hostile

TRANSFERS_MAX: Final = 200_000
"""Credit transfers of one file."""

VERSIONS: Final = range(3, 14)
"""Of pain.001.001."""

IDENTIFIER_CHARACTERS_MAX: Final = 35
"""ISO 20022 Max35Text: every identification of a file, a payment information, a transfer."""

NOT_PROVIDED: Final = "NOTPROVIDED"
"""What an initiating party writes where it has no identification to give."""

_NAMESPACE = re.compile(r"\{(urn:iso:std:iso:20022:tech:xsd:(pain\.001\.001\.(\d\d)))\}Document")


class FileRefused(Exception):
    """The file is not a pain.001 that is read here, and no report on it can be written; the message says why."""


@dataclass(frozen=True, slots=True)
class CreditTransfer:
    """One payment to one creditor. Texts stand as in the file, empty where there is none."""

    place: int
    """Counted from 1 in its payment information."""
    instruction_id: str
    end_to_end_id: str
    amount: str
    currency_code: str
    creditor_name: str
    creditor_account: str
    creditor_bank: str
    """BIC, or the member number in a clearing system."""
    remittance_text: str
    odd: tuple[str, ...]
    """What would change the payment and is not carried out here, by element name."""

    @property
    def identification(self) -> str:
        """What tells it from the others of its payment information."""
        if self.instruction_id:
            return self.instruction_id
        return f"#{self.place}" if self.end_to_end_id in {"", NOT_PROVIDED} else self.end_to_end_id


@dataclass(frozen=True, slots=True)
class PaymentInformation:
    """Payments of one debtor account on one day."""

    payment_information_id: str
    payment_method: str
    transfer_count: str
    control_sum: str
    execution_date: str
    debtor_account: str
    debtor_bank: str
    odd: tuple[str, ...]
    transfers: Sequence[CreditTransfer]


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A whole file."""

    message_name: str
    """As `pain.001.001.09`."""
    message_id: str
    initiating_party: str
    """Its identification, else its name."""
    transfer_count: str
    control_sum: str
    informations: Sequence[PaymentInformation]
    digest: bytes
    """SHA-256 over every element with its text and attributes."""

    @property
    def version(self) -> int:
        """The number at the end of the message's name."""
        return int(self.message_name[-2:])


_FINANCIAL_INSTITUTION = ("BICFI", "BIC", "ClrSysMmbId/MmbId", "Othr/Id")
_ACCOUNT = ("IBAN", "Othr/Id")
_PARTY = ("OrgId/AnyBIC", "OrgId/BICOrBEI", "OrgId/LEI", "OrgId/Othr/Id", "PrvtId/Othr/Id")

_GROUP_FIELDS: Final = frozenset({"MsgId", "NbOfTxs", "CtrlSum", "InitgPty/Nm", *(f"InitgPty/Id/{p}" for p in _PARTY)})
_INFORMATION_FIELDS: Final = frozenset(
    {
        "PmtInfId",
        "PmtMtd",
        "NbOfTxs",
        "CtrlSum",
        "ReqdExctnDt",
        "ReqdExctnDt/Dt",
        "ReqdExctnDt/DtTm",
        *(f"DbtrAcct/Id/{name}" for name in _ACCOUNT),
        *(f"DbtrAgt/FinInstnId/{name}" for name in _FINANCIAL_INSTITUTION),
    }
)
_REMITTANCE: Final = frozenset({"RmtInf/Ustrd", "RmtInf/Strd/CdtrRefInf/Ref"})
_TRANSFER_FIELDS: Final = _REMITTANCE | {
    "PmtId/InstrId",
    "PmtId/EndToEndId",
    "Amt/InstdAmt",
    "Cdtr/Nm",
    *(f"CdtrAcct/Id/{name}" for name in _ACCOUNT),
    *(f"CdtrAgt/FinInstnId/{name}" for name in _FINANCIAL_INSTITUTION),
}
_ODD: Final = frozenset({"Amt/EqvtAmt", "ChqInstr"})
"""Not carried out: a counter-value in another currency, a cheque."""


@dataclass(slots=True)
class _Fields:
    """What one element said, by path below it."""

    texts: dict[str, str] = field(default_factory=dict)
    remittance: list[str] = field(default_factory=list)
    currency_code: str = ""
    odd: list[str] = field(default_factory=list)

    def put(self, path: str, text: str, attributes: Mapping[str, str]) -> None:
        """Keep a text."""
        if path in _REMITTANCE:
            self.remittance.append(text)
            return
        if path in self.texts:
            self.odd.append(f"a second {path}")
        self.texts[path] = text
        if path == "Amt/InstdAmt":
            self.currency_code = attributes.get("Ccy", "")

    def first(self, prefix: str, names: Sequence[str] = ("",)) -> str:
        """Return the first of several texts that is there."""
        return next((text for name in names if (text := self.texts.get(prefix + name, ""))), "")


class _Reader:
    """Listens to a document and builds the file; `hostile.Listener`."""

    def __init__(self) -> None:
        self.namespace = ""
        self.message_name = ""
        self.group = _Fields()
        self.informations: list[PaymentInformation] = []
        self.digest = hashlib.sha256()
        self._information = _Fields()
        self._transfer = _Fields()
        self._transfers: list[CreditTransfer] = []
        self._transfer_count = 0

    def begin(self, path: tuple[str, ...], _attributes: Mapping[str, str]) -> None:
        """Notice what begins."""
        if len(path) == 1:
            self._begin_document(path[0])
            return
        match hostile.bare(path[1:], self.namespace):
            case ("CstmrCdtTrfInitn",):
                pass
            case (other,):
                raise FileRefused(f"not a credit transfer initiation but {other[:80]!r}")
            case (_, "PmtInf"):
                self._information, self._transfers = _Fields(), []
            case (_, "PmtInf", "CdtTrfTxInf"):
                self._transfer = _Fields()
            case (_, "PmtInf", "CdtTrfTxInf", *below) if "/".join(below) in _ODD:
                self._transfer.odd.append("/".join(below))

    def end(self, path: tuple[str, ...], text: str, attributes: Mapping[str, str]) -> None:
        """Take what ends."""
        self.digest.update(repr((len(path), path[-1], text, sorted(attributes.items()))).encode("utf-8", "replace"))
        match hostile.bare(path[1:], self.namespace):
            case (_, "PmtInf", "CdtTrfTxInf", *below):
                self._end_in_transfer("/".join(below), text, attributes)
            case (_, "PmtInf", *below):
                self._end_in_information("/".join(below), text, attributes)
            case (_, "GrpHdr", *below):
                if (name := "/".join(below)) in _GROUP_FIELDS:
                    self.group.put(name, text, attributes)

    def _begin_document(self, tag: str) -> None:
        match = _NAMESPACE.fullmatch(tag)
        if match is None:
            raise FileRefused(f"not a pain.001 document: the root element is {tag[:120]!r}")
        if int(match[3]) not in VERSIONS:
            known = f"{VERSIONS[0]:02} to {VERSIONS[-1]:02}"
            raise FileRefused(f"{match[2]} is not read: versions {known} of pain.001.001 are")
        self.namespace, self.message_name = match[1], match[2]

    def _end_in_transfer(self, name: str, text: str, attributes: Mapping[str, str]) -> None:
        if name in _TRANSFER_FIELDS:
            self._transfer.put(name, text, attributes)
        if name:
            return
        self._transfer_count += 1
        if self._transfer_count > TRANSFERS_MAX:
            raise FileRefused(f"more than {TRANSFERS_MAX} credit transfers in one file")
        fields = self._transfer
        self._transfers.append(
            CreditTransfer(
                len(self._transfers) + 1,
                fields.first("PmtId/InstrId"),
                fields.first("PmtId/EndToEndId"),
                fields.first("Amt/InstdAmt"),
                fields.currency_code,
                fields.first("Cdtr/Nm"),
                fields.first("CdtrAcct/Id/", _ACCOUNT),
                fields.first("CdtrAgt/FinInstnId/", _FINANCIAL_INSTITUTION),
                " ".join(filter(None, fields.remittance)),
                tuple(fields.odd),
            )
        )

    def _end_in_information(self, name: str, text: str, attributes: Mapping[str, str]) -> None:
        if name in _INFORMATION_FIELDS and (text or name != "ReqdExctnDt"):
            self._information.put(name, text, attributes)
        if name:
            return
        fields = self._information
        self.informations.append(
            PaymentInformation(
                fields.first("PmtInfId"),
                fields.first("PmtMtd"),
                fields.first("NbOfTxs"),
                fields.first("CtrlSum"),
                fields.first("ReqdExctnDt", ("", "/Dt", "/DtTm")),
                fields.first("DbtrAcct/Id/", _ACCOUNT),
                fields.first("DbtrAgt/FinInstnId/", _FINANCIAL_INSTITUTION),
                tuple(fields.odd),
                self._transfers,
            )
        )


def read(file: BinaryIO) -> PaymentFile:
    """Read a file. Raises `FileRefused`."""
    reader = _Reader()
    try:
        hostile.read(file, reader)
    except hostile.XmlRefused as error:
        raise FileRefused(str(error)) from error
    group = reader.group
    message_id = group.first("MsgId")
    if not 1 <= len(message_id) <= IDENTIFIER_CHARACTERS_MAX:
        raise FileRefused(
            f"GrpHdr/MsgId: from 1 to {IDENTIFIER_CHARACTERS_MAX} characters, or no report can name the file"
        )
    return PaymentFile(
        reader.message_name,
        message_id,
        group.first("InitgPty/Id/", _PARTY) or group.first("InitgPty/Nm"),
        group.first("NbOfTxs"),
        group.first("CtrlSum"),
        reader.informations,
        reader.digest.digest(),
    )
