"""Runs a real Prometheus over a bank on this machine: `python -m tools.prometheus --data DIRECTORY`.

Its configuration is deploy/prometheus/prometheus.yml with the paths of this machine put in. The tests and
the dashboards' previews ask the same server. Never here: rules, or what to ask.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from services.chassis import ports
from services.cli.data_directory import default_data_directory
from services.cli.topology import Places

CONFIGURATION: Final = Path(__file__).parents[1] / "deploy" / "prometheus"
LISTEN_DEFAULT: Final = "127.0.0.1:9090"
STOP_SECONDS_MAX: Final = 10.0
ANSWER_SECONDS_MAX: Final = 10.0

MISSING: Final = (
    "there is no prometheus on PATH: install it, on Debian and Ubuntu with: sudo apt-get install prometheus"
)


def configuration(targets: Path, interval_seconds: int | None = None) -> str:
    """Give the configuration with absolute paths and, if asked, all intervals of the same few seconds."""
    text = (CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^  - (\w+\.yml)$", rf"  - {CONFIGURATION}/\1", text)
    text = re.sub(r"files: \[.*\]", f"files: [{targets}]", text)
    if interval_seconds is not None:
        text = re.sub(r"(scrape_interval|evaluation_interval|scrape_timeout): \w+", rf"\1: {interval_seconds}s", text)
    return text


class Prometheus:
    """A running server."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask for what an expression is now; raises `ValueError` when it cannot be read."""
        found: list[dict[str, Any]] = (await self._get("query", query=expression))["result"]
        return found

    async def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Ask for what an expression was over a time; seconds since 1970-01-01."""
        found: list[dict[str, Any]] = (
            await self._get("query_range", query=expression, start=start, end=end, step=step)
        )["result"]
        return found

    async def firing(self) -> dict[str, list[dict[str, str]]]:
        """Tell the labels of all alerts that fire, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in (await self._get("alerts"))["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    async def is_ready(self) -> bool:
        """Tell whether it answers."""
        try:
            await asyncio.to_thread(_read, f"{self.url}/-/ready")
        except OSError:
            return False
        return True

    async def _get(self, what: str, **parameters: str | float) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            answer = json.loads(await asyncio.to_thread(_read, url))
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters}: {error.read().decode()}") from error
        return answer["data"]


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS_MAX) as answer:  # noqa: S310 - our own server's
        content: bytes = answer.read()
        return content


def arguments(program: str, home: Path, targets: Path, listen: str, interval_seconds: int | None = None) -> list[str]:
    """Write the configuration into a directory and give the command that runs a server there."""
    file = home / "prometheus.yml"
    file.write_text(configuration(targets, interval_seconds), encoding="utf-8")
    return [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address={listen}",
    ]


@asynccontextmanager
async def running(targets: Path, home: Path, interval_seconds: int) -> AsyncIterator[Prometheus]:
    """Run a server on a free port for the length of the context. Raises `FileNotFoundError` without a program."""
    program = shutil.which("prometheus")
    if program is None:
        raise FileNotFoundError(MISSING)
    listen = f"{ports.HOST}:{ports.choose_free(frozenset())}"
    with (home / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *arguments(program, home, targets, listen, interval_seconds), stdout=log, stderr=log
        )
    try:
        server = Prometheus(listen)
        while not await server.is_ready():
            if process.returncode is not None:
                raise RuntimeError((home / "prometheus.log").read_text(encoding="utf-8")[-2000:])
            await asyncio.sleep(0.05)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
            except TimeoutError:
                process.kill()
                await process.wait()


def main() -> None:
    """Become a Prometheus over the bank in a data directory, until Ctrl-C; what it measured goes with it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=default_data_directory(), help="the bank's data directory")
    parser.add_argument("--listen", default=LISTEN_DEFAULT, help="host:port of its pages")
    options = parser.parse_args()
    program = shutil.which("prometheus")
    if program is None:
        sys.exit(MISSING)
    home = Path(tempfile.mkdtemp(prefix="hivecore-prometheus-"))
    targets = Places(options.data.resolve()).prometheus_targets_file
    print(f"Alerts: http://{options.listen}/alerts  (measures kept in {home})", flush=True)  # noqa: T201
    os.execv(program, arguments(program, home, targets, options.listen))  # noqa: S606


if __name__ == "__main__":
    main()
