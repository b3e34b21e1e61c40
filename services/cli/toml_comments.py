"""Keeping the comments of a TOML file that is written anew: each goes with what it stood above or beside. Pure.

For files of plain tables, values and lists, one entry a line. A comment whose entry is gone, or is not
understood, moves to the end; none is lost. Never here: what a file means.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"|' + r"'[^']*'"
_LINE: Final = re.compile(rf"((?:{_QUOTED}|[^\"'#])*)(#.*)?")
_ENTRY: Final = re.compile(rf"\[\s*({_QUOTED}|[\w-]+)\s*\]\s*\Z|({_QUOTED}|[\w-]+)")


@dataclass(slots=True)
class _Comments:
    """Comments of a file: those before everything, by entry above and beside it, and those after everything."""

    head: list[str] = field(default_factory=list)
    above: dict[str, list[str]] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)


def keep(before: str, after: str) -> str:
    """Write `after`, which has no comments, with those of `before`."""
    comments = _read(before)
    lines = [*comments.head]
    for line, entry in _entries(after.removesuffix("\n")):
        lines += comments.above.pop(entry, [])
        beside = comments.beside.pop(entry, "")
        if line:
            lines.append(f"{line}  {beside}" if beside else line)
    for left in (*comments.above.values(), comments.beside.values(), comments.tail):
        lines += left
    return "".join(f"{line}\n" for line in lines)


def _read(text: str) -> _Comments:
    found = _Comments()
    waiting: list[str] = []
    seen = False
    for line, entry in _entries(text):
        match = _LINE.match(line)
        comment = (match.group(2) or "").rstrip() if match else ""
        if entry:
            seen = True
            if waiting:
                found.above.setdefault(entry, []).extend(waiting)
                waiting = []
            if comment:
                # Of two entries with one name, both comments stay.
                found.beside[entry] = f"{found.beside[entry]} {comment}" if entry in found.beside else comment
        elif comment:
            waiting.append(comment if match and match.group(1).strip() else line.rstrip())
        elif not line.strip() and waiting and not seen:
            found.head += [*waiting, ""]
            waiting = []
    (found.tail if seen or found.head else found.head).extend(waiting)
    return found


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line with the entry on it: a table, a key of a table, or a text of a list; empty for none."""
    table = ""
    for line in text.split("\n"):
        match = _LINE.match(line)
        entry = _ENTRY.match(match.group(1).strip()) if match else None
        if entry is None:
            yield line, ""
        elif entry.group(1):
            table = _plain(entry.group(1))
            yield line, f"[{table}]"
        else:
            yield line, f"[{table}] {_plain(entry.group(2))}"


def _plain(name: str) -> str:
    """Take the quotes off a name."""
    if name.startswith("'"):
        return name[1:-1]
    try:
        return str(json.loads(name)) if name.startswith('"') else name
    except ValueError:
        return name
