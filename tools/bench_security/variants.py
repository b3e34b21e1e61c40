"""Which banks are compared: one with everything, and for each part one that is the same but for that.

Never here: measuring (`turns.py`), or how a process does without a part (`without.py`).
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.cli.topology import BankOptions

ROOMS: Final = ("account", "ledger", "gateway")
PLENTY: Final = 1_000_000_000
"""An allowance that is counted with every call and never used up."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One bank."""

    name: str
    without: tuple[str, ...] = ()
    """Keys of `without.PARTS`."""
    tls: bool = True
    settings: dict[str, str] = field(default_factory=dict)
    """Of the gateway."""
    tokens: int = 1
    """How many tokens its callers show, in turn."""


EVERYTHING: Final = Variant("everything on")

VARIANTS: Final = (
    EVERYTHING,
    Variant("without TLS", tls=False),
    Variant("without metrics", without=("metrics",)),
    Variant("without authentication", without=("authentication",)),
    Variant("without rates and quotas", without=("rates",)),
    Variant("without all four", without=("metrics", "authentication", "rates"), tls=False),
    Variant("every call's token verified anew", settings={"HIVECORE_TOKENS_CACHED_MAX": "1"}, tokens=2),
)


def allowances() -> str:
    """Give a file that bounds everything that can be bounded, far away."""
    names = ("look_ups_per_second", "writes_per_second", "items_per_second", "items_per_day")
    return "[default]\n" + "".join(f"{name} = {PLENTY}\n" for name in names)


def options(variant: Variant, data: Path, allowances_file: Path) -> BankOptions:
    """Say how a variant's bank is opened."""
    instead = {}
    if variant.without:
        launcher = (sys.modules[__name__].__package__ or "") + ".without"
        instead = {room: ("-m", launcher, room, *variant.without) for room in ROOMS}
    return BankOptions(
        data=data,
        shards=1,
        port=0,
        tls=variant.tls,
        settings={"gateway": {"HIVECORE_ALLOWANCES_FILE": str(allowances_file), **variant.settings}},
        instead=instead,
    )
