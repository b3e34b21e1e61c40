"""Draws pictures of the dashboards into docs/dashboards: `python -m tools.dashboards.preview`.

There is no Grafana to be had as a Python package, so matplotlib draws the same panels from the same queries,
asked of a real Prometheus over a bank with some traffic. Never here: what is shown.
"""

import argparse
import asyncio
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from services.cli.bank import Bank
from services.cli.topology import BankOptions
from tools import prometheus
from tools.dashboards import panels, traffic
from tools.dashboards.panels import Dashboard, Panel, Query, Unit
from tools.prometheus import Prometheus

DIRECTORY: Final = Path(__file__).parents[2] / "docs" / "dashboards"

RATE_WINDOW: Final = "15s"
"""What Grafana would put in the place of its name for it, at one scrape a second."""

STEP_SECONDS: Final = 1.0
LEGEND_LINES_MAX: Final = 12
LEGEND_ROWS_MAX: Final = 6
LEGEND_ROW_SHARE: Final = 0.065
"""Of a panel's height, for each row of its legend: lines stay below it."""

WARM_UP_SECONDS: Final = 20.0
"""Not drawn: until then rates are of less than their window."""
COLOURS: Final = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#17becf",
    "#bcbd22",
)


def asked(query: Query, shard: str = ".*") -> str:
    """Give a query as Grafana would send it."""
    return query.expression.replace(panels.WINDOW, RATE_WINDOW).replace(panels.SHARD, shard)


def worded(value: float, unit: Unit) -> str:
    """Say a value with its unit, in few characters."""
    if unit == "seconds":
        return "0" if not value else f"{value:.3g} s" if abs(value) >= 1 else f"{value * 1000:.3g} ms"
    if unit == "ratio":
        return "under 0.1 %" if 0 < value < 0.001 else f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit == "microseconds":
        return f"{value:.0f} µs"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}" + ("/s" if unit == "per_second" else "")


def named(query: Query, labels: dict[str, str]) -> str:
    """Name a line by its labels, as Grafana does."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), query.legend)


class Picture:
    """One dashboard, being drawn."""

    def __init__(self, page: Dashboard) -> None:
        numbers = [panel for panel in page.panels if panel.is_number]
        others = [panel for panel in page.panels if not panel.is_number]
        rows = (len(others) + 1) // 2
        heights = ([0.7] if numbers else []) + [2.0] * rows
        self.figure = Figure(figsize=(13, 0.9 + 1.35 * sum(heights)), layout="constrained")
        self.figure.suptitle(f"{page.title}: {page.answers}", x=0.01, ha="left", fontsize=13, weight="bold")
        grid = self.figure.add_gridspec(len(heights), 12, height_ratios=heights)
        first = 1 if numbers else 0
        self.places: list[tuple[Panel, Axes]] = []
        for column, panel in enumerate(numbers):
            width = 12 // len(numbers)
            self.places.append((panel, self.figure.add_subplot(grid[0, column * width : (column + 1) * width])))
        for number, panel in enumerate(others):
            column = 6 * (number % 2)
            self.places.append((panel, self.figure.add_subplot(grid[first + number // 2, column : column + 6])))


def draw_number(axes: Axes, panel: Panel, value: float | None) -> None:
    """Draw one number in its box."""
    is_bad = panel.is_alarming and bool(value)
    axes.set_facecolor("#fbe9e7" if is_bad else "#eef6ee" if panel.is_alarming else "#f4f5f7")
    text = "no data" if value is None else worded(value, panel.unit)
    axes.text(0.5, 0.42, text, ha="center", va="center", fontsize=19, color="#b71c1c" if is_bad else "#1b5e20",
              transform=axes.transAxes)  # fmt: skip
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_lines(axes: Axes, panel: Panel, series: list[tuple[str, list[float], list[float]]]) -> None:
    """Draw lines over seconds."""
    for number, (name, times, values) in enumerate(series):
        axes.plot(times, values, label=name, linewidth=1.1, color=COLOURS[number % len(COLOURS)])
    axes.set_title(panel.title, fontsize=10, loc="left", weight="bold")
    axes.set_title(panel.answers, fontsize=7.5, loc="right", color="#555555")
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    axes.tick_params(labelsize=7)
    axes.margins(x=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: worded(value, panel.unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    highest = max((value for _, _, values in series for value in values), default=0.0)
    lowest = min((value for _, _, values in series for value in values), default=0.0)
    columns = 1 + (min(len(series), LEGEND_LINES_MAX) - 1) // LEGEND_ROWS_MAX
    rows = -(-min(len(series), LEGEND_LINES_MAX) // max(1, columns))
    top = highest / (0.96 - LEGEND_ROW_SHARE * rows) or 1.0
    axes.set_ylim(min(-0.015 * top, lowest * 1.1), top)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if series:
        shown = sorted(series, key=lambda line: -line[2][-1])[:LEGEND_LINES_MAX]
        handles = {line.get_label(): line for line in axes.get_lines()}
        names = [name for name, _, _ in series if name in {each[0] for each in shown}]
        axes.legend(handles=[handles[name] for name in names], fontsize=6.5, loc="upper left", frameon=True, framealpha=0.75,
                    edgecolor="none", ncols=columns)  # fmt: skip


async def measured(
    server: Prometheus, panel: Panel, start: float, end: float
) -> list[tuple[str, list[float], list[float]]]:
    """Ask for a panel's lines; times are seconds from the start."""
    lines = []
    for query in panel.queries:
        for series in await server.query_range(asked(query), start, end, STEP_SECONDS):
            points = [(float(at) - start, float(value)) for at, value in series["values"]]
            finite = [(at, value) for at, value in points if value == value and abs(value) != float("inf")]  # noqa: PLR0124
            if finite:
                times, values = map(list, zip(*finite, strict=True))
                lines.append((named(query, series["metric"]), times, values))
    return lines


async def draw(server: Prometheus, page: Dashboard, start: float, end: float, target: Path) -> None:
    """Draw a dashboard into a PNG."""
    picture = Picture(page)
    for panel, axes in picture.places:
        series = await measured(server, panel, start, end)
        if panel.is_number:
            draw_number(axes, panel, series[0][2][-1] if series else None)
        else:
            draw_lines(axes, panel, series)
    await asyncio.to_thread(picture.figure.savefig, target, dpi=85)


async def preview(seconds: float, directory: Path) -> None:
    """Open a bank with Prometheus over it, let callers work, draw what was measured."""
    mpl.use("agg")
    with tempfile.TemporaryDirectory(prefix="hivecore-preview-") as name:
        place = Path(name)
        os.chmod(place, 0o755)  # noqa: PTH101, S103 - PostgreSQL may run as another account
        settings: dict[str, Any] = {"ledger": {"HIVECORE_LOOK_SECONDS": "1"}}
        options = BankOptions(data=place / "bank", shards=4, port=0, settings=settings)
        async with (
            Bank.open(options) as bank,
            prometheus.running(bank.places.prometheus_targets_file, place, interval_seconds=1) as server,
        ):
            start = time.time() + WARM_UP_SECONDS
            await traffic.run(bank, WARM_UP_SECONDS + seconds)
            end = time.time()
            for page in panels.ALL:
                await draw(server, page, start, end, directory / f"{page.name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=preview.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long callers work")
    options = parser.parse_args()
    asyncio.run(preview(options.seconds, DIRECTORY))
