"""What a command prints: results on standard output, for people or as JSON; what went wrong on standard error.

rich is imported when a table is drawn, not before. Never here: what the results mean.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

ROWS_SHOWN_MAX: Final = 50
"""Refused rows that a table shows; `--json` shows all."""

_PLAIN_WIDTH_CHARACTERS: Final = 200
"""Width of tables that go to a file or a pipe, where nothing else tells."""


class Failure(Exception):
    """The command cannot be done; the message says why in one sentence."""


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Say on standard error why the command ends, and end it."""
    print(f"hivecore: {sentence}", file=sys.stderr)
    raise typer.Exit(status)


def console(*, to_stderr: bool = False) -> "Console":
    """Open the terminal, or what stands in for it."""
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH_CHARACTERS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show_json(value: object) -> None:
    """Print one JSON document, at once: whoever reads a pipe may be waiting for it."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def show_line(text: str) -> None:
    """Print one line of text, at once."""
    print(text, flush=True)


def show_fields(fields: Mapping[str, object]) -> None:
    """Print one thing, a field a line."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), _cell(value))
    console().print(table)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; numbers and what looks like an amount stand to the right."""
    from rich.table import Table

    cells = [[_cell(value) for value in row] for row in rows]
    table = Table(title=title or None, title_justify="left")
    for place, column in enumerate(columns):
        right = bool(cells) and all(_is_number(row[place]) for row in cells)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console().print(table)


def open_progress(*, silent: bool) -> "Progress":
    """Open a progress display on standard error; it draws nothing when silent or not on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    screen = console(to_stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        disable=silent or not screen.is_terminal,
        transient=True,
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _is_number(text: str) -> bool:
    """Tell a count or an amount from an account's or customer's number, which has 14 digits or more."""
    return text.removeprefix("-").replace(".", "", 1).isdigit() and ("." in text or len(text) < 14)
