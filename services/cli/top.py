"""`hivecore top`: the bank at a glance, live, from the processes' own metrics; no Prometheus needed.

Never here: what the measures mean (`gauging.py`), the command line.
"""

import asyncio
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.cli import gauging, output
from services.cli.gauging import GatewayGlance, Glance, Moment, Readings, ShardGlance

ANSWER_SECONDS_MAX: Final = 2.0
"""A process that takes longer to say what it measured counts as silent."""

SOUND: Final = "green"
BAD: Final = "bold red"


async def read(addresses: Mapping[str, str]) -> Moment:
    """Ask every process for its measures, all at once."""
    found = await asyncio.gather(*(asyncio.to_thread(_readings, address) for address in addresses.values()))
    return dict(zip(addresses, found, strict=True))


def _readings(address: str) -> Readings | None:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=ANSWER_SECONDS_MAX) as answer:
            return Readings.of_text(answer.read().decode())
    except (OSError, ValueError):
        return None


async def once(addresses: Mapping[str, str], seconds: float) -> Glance:
    """Compare two moments some seconds apart."""
    before, began = await read(addresses), time.monotonic()
    await asyncio.sleep(seconds)
    after = await read(addresses)
    return gauging.glance(before, after, time.monotonic() - began)


async def live(addresses: Mapping[str, str], seconds: float) -> None:
    """Show the bank until cancelled, anew every few seconds."""
    with Live(console=output.console(), screen=True, auto_refresh=False) as screen:
        screen.update(Text("Looking ..."), refresh=True)
        before, began = await read(addresses), time.monotonic()
        while True:
            await asyncio.sleep(seconds)
            after, ended = await read(addresses), time.monotonic()
            screen.update(drawn(gauging.glance(before, after, ended - began)), refresh=True)
            before, began = after, ended


def show(glance: Glance) -> None:
    """Print what was seen once."""
    output.console().print(drawn(glance))


def document(glance: Glance) -> dict[str, object]:
    """Give what was seen as JSON shows it."""
    return asdict(glance) | {"sound": glance.is_sound}


def drawn(glance: Glance) -> RenderableType:
    """Draw what was seen."""
    parts: list[RenderableType] = [_headline(glance), _shards(glance.shards), _gateways(glance.gateways)]
    return Group(*parts)


def _headline(glance: Glance) -> Text:
    if glance.is_sound:
        return Text("Money is safe and everybody answers", style=SOUND)
    problems = [f"{name} does not answer" for name in glance.silent]
    problems += [f"nobody writes shard {shard.shard_id}" for shard in glance.shards if not shard.writer]
    problems += [f"the books of shard {shard.shard_id} do not add up" for shard in glance.shards if shard.gap_minor]
    return Text("; ".join(problems) or "no shard is known yet", style=BAD)


def _table(*columns: str) -> Table:
    table = Table()
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 2 else "right")
    return table


def _shards(shards: tuple[ShardGlance, ...]) -> Table:
    table = _table(
        "shard", "writer", "epoch", "transfers/s", "queue", "commit p99", "in flight", "oldest", "gap", "customers"
    )
    for shard in shards:
        gap = "?" if shard.gap_minor is None else str(shard.gap_minor)
        full = f" ({100 * shard.customer_count // shard.customer_quota} %)" if shard.customer_quota else ""
        table.add_row(
            str(shard.shard_id),
            Text(shard.writer) if shard.writer else Text("nobody", style=BAD),
            str(shard.epoch),
            f"{shard.transfers_per_second:,.0f}",
            str(shard.queued_count),
            _time(shard.commit_p99_seconds),
            str(shard.in_flight_count),
            _time(shard.oldest_seconds or None),
            Text(gap, style=BAD if shard.gap_minor else ""),
            f"{shard.customer_count:,}{full}",
        )
    return table


def _gateways(gateways: tuple[GatewayGlance, ...]) -> Table:
    table = _table("gateway", "calls/s", "p99", "failed/s", "refused/s", "queue")
    for gateway in gateways:
        table.add_row(
            gateway.process,
            f"{gateway.calls_per_second:,.0f}",
            _time(gateway.p99_seconds),
            Text(f"{gateway.failed_per_second:,.1f}", style=BAD if gateway.failed_per_second else ""),
            f"{gateway.refused_per_second:,.1f}",
            str(gateway.queued_count),
        )
    return table


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
