"""The status report on a payment file: pain.002, written straight through. Pure but for the stream.

Version 03 answers versions 03 to 08 of pain.001, version 10 the later ones, as ISO 20022 pairs them.
The same file with the same outcomes gives the same bytes. Never here: where outcomes come from.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from io import BytesIO
from typing import Final
from uuid import UUID

from services.cli.bulk import Done, No, Undecided
from services.cli.iso20022.orders import CreditTransfer, PaymentFile
from services.cli.iso20022.reasons import code_of
from services.cli.iso20022.writing import Xml
from services.cli.views import View

ADDITIONAL_CHARACTERS_MAX: Final = 105
"""Max105Text of AddtlInf."""

_COUNT: Final = re.compile(r"[0-9]{1,15}")
_SUM: Final = re.compile(r"[0-9]{1,18}|(?=.{1,19}\Z)[0-9]{1,18}\.[0-9]{1,17}")

TO_COME: Final = "EXECUTION_DATE_TO_COME"
"""Why a payment that nothing speaks against is not paid yet."""

Answer = Done[None] | No | Undecided


class Status(StrEnum):
    """ISO 20022's status codes that are given here, for groups and for single transfers."""

    SETTLED = "ACSC"
    ACCEPTED = "ACCP"
    """To be paid on a day to come: the same file again, on that day, pays it."""
    IN_PROCESS = "ACSP"
    """Debited; the payee's shard has not answered yet."""
    PENDING = "PDNG"
    """No definite outcome: the same file again finds it."""
    REJECTED = "RJCT"
    PARTLY = "PART"
    """Of several: some are settled, others not."""


@dataclass(slots=True)
class Report:
    """What became of a file: of each payment information, an answer per transfer."""

    file: PaymentFile
    register_time_us: int
    """When the bank first saw the file, in microseconds since 1970-01-01 UTC."""
    answers: Sequence[Sequence[Answer]]
    group_fault: No | None = None
    information_faults: Mapping[int, No] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The group's status."""
        return Status.REJECTED if self.group_fault else join(map(status_of, self._all()))

    @property
    def is_settled(self) -> bool:
        """Whether every payment is settled."""
        return self.status == Status.SETTLED

    @property
    def waits_for_its_day(self) -> bool:
        """Whether every payment is settled but for those whose day is to come."""
        kinds = set(self.counts())
        return not self.group_fault and Status.ACCEPTED in kinds and kinds <= {Status.ACCEPTED, Status.SETTLED}

    def counts(self) -> dict[Status, int]:
        """Count the transfers by status."""
        return dict(sorted(Counter(map(status_of, self._all())).items()))

    def _all(self) -> Iterable[Answer]:
        return (answer for answers in self.answers for answer in answers)


def status_of(answer: Answer) -> Status:
    """Tell one transfer's status."""
    match answer:
        case Done():
            return Status.SETTLED
        case No():
            return Status.REJECTED
        case Undecided(reason="IN_TRANSIT"):
            return Status.IN_PROCESS
        case Undecided(reason=reason) if reason == TO_COME:
            return Status.ACCEPTED
        case _:
            return Status.PENDING


def join(statuses: Iterable[Status]) -> Status:
    """Tell the status of several transfers together; of none, REJECTED."""
    kinds = set(statuses)
    if len(kinds) <= 1:
        return kinds.pop() if kinds else Status.REJECTED
    if not kinds <= {Status.SETTLED, Status.IN_PROCESS, Status.ACCEPTED}:
        return Status.PARTLY
    return Status.ACCEPTED if Status.ACCEPTED in kinds else Status.IN_PROCESS


def unsettled(report: Report) -> list[View]:
    """List the payments that are not settled, in the file's order."""
    rows: list[View] = []
    for information, answers in zip(report.file.informations, report.answers, strict=True):
        for transfer, answer in zip(information.transfers, answers, strict=True):
            if not isinstance(answer, Done):
                rows.append(
                    {
                        "payment_information": information.payment_information_id,
                        "payment": transfer.instruction_id or transfer.end_to_end_id,
                        "status": str(status_of(answer)),
                        "code": code_of(answer.reason) if isinstance(answer, No) else "",
                        "reason": answer.reason,
                        "message": answer.message,
                    }
                )
    return rows


def view(report: Report) -> View:
    """Show a report as plain values."""
    return {
        "message_name": report.file.message_name,
        "message_id": report.file.message_id,
        "status": str(report.status),
        "reason": report.group_fault.reason if report.group_fault else "",
        "counts": {str(status): count for status, count in report.counts().items()},
        "unsettled": unsettled(report),
    }


def write(report: Report, transfer_ids: Sequence[Sequence[str]]) -> bytes:
    """Write a report; `transfer_ids` are the bank's own ids, place by place."""
    stream = BytesIO()
    xml, file = Xml(stream), report.file
    version = "03" if file.version < 9 else "10"
    xml.begin("Document", xmlns=f"urn:iso:std:iso:20022:tech:xsd:pain.002.001.{version}")
    xml.begin("CstmrPmtStsRpt")
    xml.begin("GrpHdr")
    xml.leaf("MsgId", UUID(bytes=file.digest[:16]).hex)
    time = datetime.fromtimestamp(report.register_time_us // 1_000_000, UTC)
    xml.leaf("CreDtTm", time.strftime("%Y-%m-%dT%H:%M:%SZ"))
    xml.end("GrpHdr")
    xml.begin("OrgnlGrpInfAndSts")
    xml.leaf("OrgnlMsgId", file.message_id)
    xml.leaf("OrgnlMsgNmId", file.message_name)
    _write_control(xml, file.transfer_count, file.control_sum)
    xml.leaf("GrpSts", report.status)
    _write_reason(xml, report.group_fault)
    if report.group_fault is None:
        _write_counts(xml, report.counts())
    xml.end("OrgnlGrpInfAndSts")
    if report.group_fault is None:
        for place in range(len(file.informations)):
            _write_information(xml, report, place, transfer_ids[place])
    xml.end("CstmrPmtStsRpt")
    xml.end("Document")
    return stream.getvalue()


def _write_information(xml: Xml, report: Report, place: int, transfer_ids: Sequence[str]) -> None:
    information, answers = report.file.informations[place], report.answers[place]
    fault = report.information_faults.get(place)
    xml.begin("OrgnlPmtInfAndSts")
    xml.leaf("OrgnlPmtInfId", information.payment_information_id)
    _write_control(xml, information.transfer_count, information.control_sum)
    xml.leaf("PmtInfSts", Status.REJECTED if fault else join(map(status_of, answers)))
    _write_reason(xml, fault)
    if fault is None:
        for transfer, answer, transfer_id in zip(information.transfers, answers, transfer_ids, strict=True):
            _write_transfer(xml, transfer, answer, transfer_id)
    xml.end("OrgnlPmtInfAndSts")


def _write_transfer(xml: Xml, transfer: CreditTransfer, answer: Answer, transfer_id: str) -> None:
    xml.begin("TxInfAndSts")
    xml.leaf("OrgnlInstrId", transfer.instruction_id[:35])
    xml.leaf("OrgnlEndToEndId", transfer.end_to_end_id[:35])
    xml.leaf("TxSts", status_of(answer))
    if not isinstance(answer, Done):
        _write_reason(xml, answer)
    if transfer_id:
        xml.leaf("AcctSvcrRef", UUID(transfer_id).hex)
    xml.end("TxInfAndSts")


def _write_control(xml: Xml, count: str, total: str) -> None:
    """Repeat what the file says of itself, as far as it can be repeated."""
    xml.leaf("OrgnlNbOfTxs", count if _COUNT.fullmatch(count) else "")
    xml.leaf("OrgnlCtrlSum", total if _SUM.fullmatch(total) else "")


def _write_counts(xml: Xml, counts: Mapping[Status, int]) -> None:
    for status, count in counts.items():
        xml.begin("NbOfTxsPerSts")
        xml.leaf("DtldNbOfTxs", str(count))
        xml.leaf("DtldSts", status)
        xml.end("NbOfTxsPerSts")


def _write_reason(xml: Xml, answer: No | Undecided | None) -> None:
    """Say why not: ISO's code for programs, our reason and the sentence for people."""
    if answer is None:
        return
    xml.begin("StsRsnInf")
    if isinstance(answer, No):
        xml.begin("Rsn")
        xml.leaf("Cd", code_of(answer.reason))
        xml.end("Rsn")
    xml.leaf("AddtlInf", answer.reason[:ADDITIONAL_CHARACTERS_MAX])
    message = " ".join(answer.message.split())
    if message and message.upper().replace(" ", "_") != answer.reason:
        xml.leaf("AddtlInf", message[:ADDITIONAL_CHARACTERS_MAX])
    xml.end("StsRsnInf")
