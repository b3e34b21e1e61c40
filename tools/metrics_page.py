"""Writes docs/metrics.md from the metrics themselves: `python -m tools.metrics_page`.

A test holds the page against them. Never here: what a metric counts.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from services.account import metrics as account
from services.chassis import metrics as chassis
from services.chassis.meters import Meter
from services.gateway import metrics as gateway
from services.ledger import metrics as ledger

PAGE: Final = Path(__file__).parents[1] / "docs" / "metrics.md"

HEAD: Final = """# Metrics

Each process serves its own at `http://<metrics address>/metrics`; `hivecore up` prints the addresses, and
`prometheus-targets.json` in the bank's data directory lists them for Prometheus. Labels are small closed sets: never an
account, a customer or an id. Amounts are minor units of the currency (cents). This page is generated
(`make pages`); a test keeps it complete.

[Operations](operations.md) says which of them to look at, and `deploy/prometheus` which of them wake somebody.
"""

ROOMS: Final[tuple[tuple[str, str, ModuleType], ...]] = (
    ("Every process", "`services/chassis/metrics.py`, with the grpc-ecosystem's names for calls.", chassis),
    ("The gateway", "`services/gateway/metrics.py`.", gateway),
    ("The ledger", "`services/ledger/metrics.py`. Gauges of a shard are shown by its writer only.", ledger),
    ("The account service", "`services/account/metrics.py`.", account),
)


class Described(NamedTuple):
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    question: str


def described(room: ModuleType) -> Iterator[Described]:
    """List a room's metrics in the order in which they stand there."""
    for value in vars(room).values():
        if isinstance(value, Meter):
            yield _described(value)
    if room is chassis:
        for family in chassis.MESSAGES.collect():
            yield Described(f"{family.name}_total", family.type, chassis.METHOD_LABELS, family.documentation)


def _described(metric: Meter) -> Described:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return Described(name, family.type, metric.label_names, family.documentation)


def page() -> str:
    """Give the page's text."""
    parts = [HEAD]
    for title, where, room in ROOMS:
        parts.append(f"\n## {title}\n\n{where}\n\n| metric | kind | labels | answers |\n| --- | --- | --- | --- |\n")
        for name, kind, labels, question in described(room):
            parts.append(f"| `{name}` | {kind} | {', '.join(labels)} | {question} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
