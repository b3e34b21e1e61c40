"""What kinds of callers there are, and what each does how often: the mixes of every generator of the kit.

Pure data. Never here: the requests (`operations.py`), and how fast they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loadtest.workload import IS_PAID, PAYS, Hot

BALANCE: Final = "balance"
STATEMENT: Final = "statement"
TRANSFER: Final = "transfer"
HOLD_AND_CAPTURE: Final = "hold_and_capture"
PAYMENT: Final = "payment"
BATCH: Final = "batch"


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of caller."""

    name: str
    weights: Mapping[str, int]
    """Operations, and how often each is done, relative to the others."""
    hot: Hot | None = None
    says: str = ""


MIXES: Final[Mapping[str, Mix]] = {
    mix.name: mix
    for mix in (
        Mix(
            "channel_app",
            {BALANCE: 40, STATEMENT: 20, TRANSFER: 25, HOLD_AND_CAPTURE: 10, PAYMENT: 5},
            says="customers with a phone: look, look back, pay each other, pay by card, pay to another bank",
        ),
        Mix("batch", {BATCH: 1}, says="a channel that sends many transfers per call"),
        Mix("hot_merchant", {TRANSFER: 1}, Hot(1.0, IS_PAID), "everybody pays one account"),
        Mix("payroll", {BATCH: 1}, Hot(1.0, PAYS), "one account pays everybody, many per call"),
        Mix("look_ups", {BALANCE: 60, STATEMENT: 40}, says="customers who look whether their money has come"),
        Mix("transfers", {TRANSFER: 1}, says="single transfers and nothing else"),
    )
}
