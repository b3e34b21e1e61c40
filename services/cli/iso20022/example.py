"""A payment file as an example: for the demonstration, and for whoever wants to see one.

Never here: reading files.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from xml.sax.saxutils import escape

from services.cli.amounts import format_amount


class Payment(NamedTuple):
    """One payment to an account of the same bank, in minor units."""

    end_to_end_id: str
    creditor_account: str
    amount_minor: int
    remittance_text: str


def document(message_id: str, day: date, debtor_account: str, currency_code: str, payments: Sequence[Payment]) -> bytes:
    """Write a pain.001.001.09 that asks for some payments of one debtor."""
    count = len(payments)
    total = format_amount(sum(payment.amount_minor for payment in payments), currency_code)
    transfers = "".join(
        f"<CdtTrfTxInf><PmtId><EndToEndId>{escape(payment.end_to_end_id)}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{currency_code}">{format_amount(payment.amount_minor, currency_code)}</InstdAmt></Amt>'
        f"<CdtrAcct><Id><Othr><Id>{escape(payment.creditor_account)}</Id></Othr></Id></CdtrAcct>"
        f"<RmtInf><Ustrd>{escape(payment.remittance_text)}</Ustrd></RmtInf></CdtTrfTxInf>"
        for payment in payments
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09">'
        f"<CstmrCdtTrfInitn><GrpHdr><MsgId>{escape(message_id)}</MsgId><CreDtTm>{day}T00:00:00</CreDtTm>"
        f"<NbOfTxs>{count}</NbOfTxs><CtrlSum>{total}</CtrlSum><InitgPty><Nm>Example</Nm></InitgPty></GrpHdr>"
        f"<PmtInf><PmtInfId>1</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>{count}</NbOfTxs><CtrlSum>{total}</CtrlSum>"
        f"<ReqdExctnDt><Dt>{day}</Dt></ReqdExctnDt><Dbtr><Nm>Example</Nm></Dbtr>"
        f"<DbtrAcct><Id><Othr><Id>{escape(debtor_account)}</Id></Othr></Id></DbtrAcct>"
        "<DbtrAgt><FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId></DbtrAgt>"
        f"{transfers}</PmtInf></CstmrCdtTrfInitn></Document>"
    ).encode()
