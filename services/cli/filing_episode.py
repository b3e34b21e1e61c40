"""Episode of the walk: a payment file, carried out, carried out again, changed and refused.

Never here: the other episodes (`episodes.py`).
"""

from datetime import UTC, datetime
from io import BytesIO

from services.cli.demonstration import CURRENCY, Walk
from services.cli.ids import new_id
from services.cli.iso20022 import example, filing, orders
from services.cli.iso20022.example import Payment
from services.cli.output import open_progress

SALARY_MINOR = 12_34
TOO_MUCH_MINOR = 1_000_000_00


async def payment_file(walk: Walk, payer: str, payee: str) -> None:
    """Pay two salaries by pain.001, of which one is too much."""
    today = datetime.now(UTC).date()
    message_id = new_id()[:35]
    payments = [
        Payment("salary-1", payee, SALARY_MINOR, "salary"),
        Payment("salary-2", payee, TOO_MUCH_MINOR, "far too much"),
    ]
    content = example.document(message_id, today, payer, CURRENCY, payments)

    async def carry_out(content: bytes) -> str:
        with open_progress(silent=True) as progress:
            filed = await filing.carry_out(walk.bank, orders.read(BytesIO(content)), today, progress)
        report = filed.report
        whole = f" {report.group_fault.reason}" if report.group_fault else ""
        return f"{report.status}{whole}: " + ", ".join(f"{count} {name}" for name, count in report.counts().items())

    expected = "PART: 1 ACSC, 1 RJCT"
    title = f"carry out a payment file of {walk.text(SALARY_MINOR)} and {walk.text(TOO_MUCH_MINOR)}"
    await walk.step(title, expected, carry_out(content))
    await walk.step("carry out the same file again", expected, carry_out(content))
    changed = content.replace(b"far too much", b"a little more")
    await walk.step("carry it out with a word changed", "RJCT MESSAGE_ID_REUSED: 2 RJCT", carry_out(changed))
