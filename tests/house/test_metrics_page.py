"""docs/metrics.md says what there is to measure, and every metric keeps the naming rules."""

import re

import pytest
from prometheus_client import REGISTRY

from tools import metrics_page
from tools.metrics_page import Described

ALL = [metric for _, _, room in metrics_page.ROOMS for metric in metrics_page.described(room)]


def test_the_page_is_fresh() -> None:
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), "make pages"


def test_every_metric_of_the_bank_is_on_the_page() -> None:
    ours = {family.name for family in REGISTRY.collect() if family.name.startswith(("hivecore_", "grpc_"))}
    assert ours == {metric.name.removesuffix("_total") for metric in ALL}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_metric_answers_a_question_without_naming_anybody(metric: Described) -> None:
    assert "?" in metric.question
    assert metric.name.startswith(("grpc_server_", "hivecore_"))
    assert not {label for label in metric.labels if re.search(r"account|customer|_id$|subject|transfer", label)}
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert len(set(metric.labels)) == len(metric.labels) <= 4
