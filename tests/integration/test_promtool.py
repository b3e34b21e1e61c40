"""Prometheus's own tool on the rules in deploy/prometheus: they are well formed and every case comes out as written."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import prometheus

RULES = prometheus.CONFIGURATION

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason=prometheus.MISSING)


def run(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    run("check", "rules", RULES / "recording.yml", RULES / "alerts.yml")
    file = tmp_path / "prometheus.yml"
    file.write_text(prometheus.configuration(tmp_path / "targets.json"))
    run("check", "config", file)
    file.write_text(prometheus.configuration(tmp_path / "targets.json", interval_seconds=1))
    run("check", "config", file)


def test_every_case_of_every_alert_comes_out_as_written() -> None:
    run("test", "rules", *sorted((RULES / "tests").glob("*.yml")))
