"""`hivecore up`: opens a bank on this machine in the foreground, says how to use it, closes it on Ctrl-C.

Opening and keeping it open is `bank.py`'s. Never here: reading the command line.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.panel import Panel
from rich.table import Table

from services.chassis.children import LaunchError
from services.cli import output
from services.cli.bank import Bank
from services.cli.data_directory import default_data_directory
from services.cli.topology import BankOptions as UpOptions

__all__ = ["UpOptions", "default_data_directory", "inherited_environment", "up"]

FIRST_COMMANDS: Final = ("customer open", "shards", "audit")
"""Shown when the bank is open: commands that work as they stand."""

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def inherited_environment() -> dict[str, str]:
    """Give this process's environment, for the services that it starts."""
    return dict(os.environ)


def up(options: UpOptions, *, as_json: bool = False) -> None:
    """Open the bank, keep it open until SIGINT, SIGTERM or SIGHUP, close it. Raises `output.Failure`.

    As JSON, standard output gets the content of `bank.json` once the bank is open, and nothing else.
    """
    try:
        asyncio.run(_up(replace(options, environment=inherited_environment()), as_json=as_json))
    except LaunchError as error:
        raise output.Failure(str(error)) from error


async def _up(options: UpOptions, *, as_json: bool) -> None:
    console = output.console(to_stderr=as_json)
    _cancel_on_signals()
    opening = console.status(f"Opening the bank in {options.data} ...")
    try:
        with opening:
            async with Bank.open(options, say=console.print) as bank:
                opening.stop()
                if as_json:
                    output.show_json(json.loads(bank.places.bank_file.read_text()))
                else:
                    console.print(panel(bank))
                try:
                    await asyncio.Event().wait()
                finally:
                    console.print("Closing the bank ...")
    except asyncio.CancelledError:
        console.print(f"The bank is closed; its data stays in {options.data}")


def _cancel_on_signals() -> None:
    """Let the first stop signal cancel the current task; later ones change nothing: closing is under way."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    cancelled = False

    def stop() -> None:
        nonlocal cancelled
        if not cancelled:
            cancelled = True
            task.cancel()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)


def command_name() -> str:
    """Give what to type in this directory to get this very `hivecore`."""
    script = Path(sys.executable).with_name("hivecore")
    if not script.exists():
        return f"{sys.executable} -m services.cli"
    found = shutil.which("hivecore")
    if found is not None and Path(found).samefile(script):
        return "hivecore"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def panel(bank: Bank) -> Panel:
    """Say what is open where, and what to try first."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    data = bank.places.data
    command = command_name()
    suffix = "" if data == default_data_directory() else f" --data {data}"
    table.add_row("gateway", f"{', '.join(bank.topology.gateways)}  (gRPC, reflection on)")
    table.add_row("token", f"{command} token{suffix}")
    table.add_row(
        "metrics", "\n".join(f"http://{address}/metrics  {name}" for name, address in bank.topology.metrics.items())
    )
    table.add_row("data", f"{data}  ({bank.shape.shards} shards, {', '.join(bank.shape.currencies)})")
    table.add_row("try", "\n".join(f"{command} {words}{suffix}" for words in FIRST_COMMANDS))
    table.add_row("stop", "Ctrl-C")
    return Panel(table, title="The bank is open", expand=False)
