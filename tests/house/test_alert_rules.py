"""The alerts in deploy/prometheus: each is tested in both directions, names real metrics and has a runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import metrics_page, prometheus

ROOT = Path(__file__).parents[2]
RULES = prometheus.CONFIGURATION
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "How to look", "What to do", "What never to do"]


def rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((RULES / file).read_text())["groups"] for rule in group["rules"]]


def cases() -> list[dict[str, Any]]:
    files = sorted((RULES / "tests").glob("*.yml"))
    tests = [test for file in files for test in yaml.safe_load(file.read_text())["tests"]]
    return [case for test in tests for case in test.get("alert_rule_test", [])]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(name: str) -> None:
    outcomes = {bool(case["exp_alerts"]) for case in cases() if case["alertname"] == name}
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_grave_it_is_what_happened_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert f"`{name}`" in page
    assert re.findall(r"(?m)^## (.*)$", page) == SECTIONS
    assert all(part.strip() for part in re.split(r"(?m)^## .*$", page))


def test_every_runbook_is_of_an_alert() -> None:
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == ALERTS.keys()


def test_links_between_runbooks_lead_somewhere() -> None:
    for file in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", file.read_text()):
            assert (file.parent / target).is_file(), f"{file.name}: {target}"


def test_rules_name_metrics_that_there_are() -> None:
    described = [metric for _, _, room in metrics_page.ROOMS for metric in metrics_page.described(room)]
    names = {metric.name for metric in described}
    names |= {f"{metric.name}_{part}" for metric in described for part in ("bucket", "sum", "count")}
    everything = rules("recording.yml") + rules("alerts.yml")
    recorded = {rule["record"] for rule in everything if "record" in rule}
    for rule in everything:
        used = set(re.findall(r"\b(?:hivecore|grpc_server)_\w+", rule["expr"]))
        used -= set(re.findall(r'"[^"]*"', rule["expr"]))
        assert used <= names, rule
        assert set(re.findall(r"\b\w+:\w+:\w+", rule["expr"])) <= recorded, rule


def test_rules_about_calls_say_whose_so_that_health_checks_are_not_among_them() -> None:
    asked = [
        matchers
        for rule in rules("recording.yml") + rules("alerts.yml")
        for matchers in re.findall(r"grpc_server_\w+(\{[^}]*\})?", rule["expr"])
    ]
    assert asked
    assert [matchers for matchers in asked if 'grpc_service="hivecore.' not in matchers] == []
