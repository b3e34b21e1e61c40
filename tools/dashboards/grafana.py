"""Writes deploy/grafana from the panels: `python -m tools.dashboards.grafana`. A test holds the files against them.

Numbers stand four in a row, lines two; Grafana's own library makes the JSON. Never here: what is shown.
"""

from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos, Threshold, ThresholdsMode

from tools.dashboards import panels
from tools.dashboards.panels import Dashboard, Panel, Unit

DIRECTORY: Final = Path(__file__).parents[2] / "deploy" / "grafana"

COLUMNS: Final = 24
NUMBER_SIZE: Final = (6, 4)
LINES_SIZE: Final = (12, 8)

UNITS: Final[dict[Unit, str]] = {
    "per_second": "cps",
    "seconds": "s",
    "count": "short",
    "ratio": "percentunit",
    "minor_units": "short",
    "cores": "short",
    "microseconds": "µs",
    "bytes": "bytes",
}

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")


def _placed(all_panels: tuple[Panel, ...]) -> list[tuple[Panel, GridPos]]:
    """Put panels into rows, in their order."""
    placed = []
    x = y = row_height = 0
    for panel in all_panels:
        width, height = NUMBER_SIZE if panel.is_number else LINES_SIZE
        if x + width > COLUMNS or (row_height and height != row_height):
            x, y = 0, y + row_height
        row_height = height
        placed.append((panel, GridPos(h=height, w=width, x=x, y=y)))
        x += width
    return placed


def _built(panel: Panel, place: GridPos) -> Any:
    builder: Any = (stat.Panel if panel.is_number else timeseries.Panel)()
    builder = builder.title(panel.title).description(panel.answers).unit(UNITS[panel.unit]).datasource(SOURCE)
    builder = builder.grid_pos(place).min(None if panel.unit == "minor_units" else 0)
    if panel.is_number:
        colours = [Threshold(value=None, color="green")]
        if panel.is_alarming:
            colours.append(Threshold(value=0.0000001, color="red"))
        builder = builder.graph_mode(BigValueGraphMode.AREA).thresholds(
            dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colours)
        )
        builder = builder.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    else:
        legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        builder = builder.line_width(1).fill_opacity(8).legend(legend.show_legend(show_legend=True))
    for number, query in enumerate(panel.queries):
        builder = builder.with_target(
            prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + number))
        )
    return builder


def rendered(page: Dashboard) -> str:
    """Give a dashboard's JSON."""
    builder = (
        dashboard.Dashboard(page.title)
        .uid(f"hivecore-{page.name}")
        .description(page.answers)
        .tags(["hivecore"])
        .refresh("10s")
        .time("now-30m", "now")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    if any(panels.SHARD in query.expression for panel in page.panels for query in panel.queries):
        builder = builder.with_variable(
            dashboard.QueryVariable("shard")
            .label("Shard")
            .datasource(SOURCE)
            .query("label_values(hivecore_ledger_is_writer, shard)")
            .multi(multi=True)
            .include_all(include_all=True)
        )
    for panel, place in _placed(page.panels):
        builder = builder.with_panel(_built(panel, place))
    return str(JSONEncoder(sort_keys=True, indent=2).encode(builder.build())) + "\n"


if __name__ == "__main__":
    for each in panels.ALL:
        (DIRECTORY / f"{each.name}.json").write_text(rendered(each), encoding="utf-8")
