"""deploy/grafana is made from the panels; whether their queries find anything is asked of a real Prometheus elsewhere."""

import json
import re

import pytest

from tools import metrics_page
from tools.dashboards import grafana, panels, preview
from tools.dashboards.panels import Dashboard


@pytest.mark.parametrize("page", panels.ALL, ids=lambda page: page.name)
def test_a_dashboard_is_fresh_and_has_a_picture(page: Dashboard) -> None:
    assert (grafana.DIRECTORY / f"{page.name}.json").read_text(encoding="utf-8") == grafana.rendered(page), "make pages"
    assert (preview.DIRECTORY / f"{page.name}.png").read_bytes().startswith(b"\x89PNG")


def test_there_are_no_others() -> None:
    assert {file.stem for file in grafana.DIRECTORY.glob("*.json")} == {page.name for page in panels.ALL}


@pytest.mark.parametrize("page", panels.ALL, ids=lambda page: page.name)
def test_panels_do_not_overlap_and_leave_no_hole(page: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(grafana.rendered(page))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= grafana.COLUMNS
        taken |= cells


def test_dashboards_name_metrics_that_there_are() -> None:
    described = [metric for _, _, room in metrics_page.ROOMS for metric in metrics_page.described(room)]
    names = {metric.name for metric in described}
    names |= {f"{metric.name}_{part}" for metric in described for part in ("bucket", "sum", "count")}
    for page in panels.ALL:
        for panel in page.panels:
            for query in panel.queries:
                bare = re.sub(r'"[^"]*"|\w+:\w+:\w+', "", query.expression)
                assert set(re.findall(r"\b(?:hivecore|grpc_server)_\w+", bare)) <= names, query


def test_panels_about_calls_say_whose_so_that_health_checks_are_not_among_them() -> None:
    expressions = [query.expression for page in panels.ALL for panel in page.panels for query in panel.queries]
    asked = re.findall(r"grpc_server_\w+(\{[^}]*\})?", " ".join(expressions))
    assert asked
    assert [matchers for matchers in asked if 'grpc_service="hivecore.' not in matchers] == []
