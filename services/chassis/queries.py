"""SQL lives in `.sql` files; this loads those of a room as named blocks.

A block starts with a line `-- name --` and runs to the next one; comment lines below the name
belong to it. Never here: building SQL from strings.
"""

import re
from collections.abc import Mapping
from importlib import resources
from itertools import dropwhile

_NAME_LINE = re.compile(r"^-- ([a-z][a-z0-9_]*) --$")


class Queries(dict[str, str]):
    """Queries of files by name; asking for one that is not there says where to look."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def __missing__(self, name: str) -> str:
        raise KeyError(f"no query {name!r} in {self.place}")


def load(package: str, *files: str) -> Mapping[str, str]:
    """Read files of a package, `queries.sql` if none is named. Raises `ValueError` when one breaks the form."""
    files = files or ("queries.sql",)
    found = Queries(f"{', '.join(files)} of {package}")
    for file in files:
        read = parse(f"{file} of {package}", resources.files(package).joinpath(file).read_text(encoding="utf-8"))
        if again := found.keys() & read.keys():
            raise ValueError(f"{file} of {package}: {min(again)} is in another file, too")
        found |= read
    return found


def parse(place: str, text: str) -> Queries:
    """Split text into its named blocks; `place` only serves messages."""
    blocks: dict[str, list[str]] = {}
    block: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _NAME_LINE.match(line.rstrip()):
            name = match[1]
            if name in blocks:
                raise ValueError(f"{place}, line {number}: {name} is there twice")
            block = blocks[name] = []
        elif block is not None:
            block.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"{place}, line {number}: SQL before the first `-- name --`")
    queries = Queries(place)
    for name, lines in blocks.items():
        if not any(line.strip() and not line.lstrip().startswith("--") for line in lines):
            raise ValueError(f"{place}: {name} has no SQL")
        # Without the words before it, a statement's first word is its verb: so traces and PostgreSQL's own lists name it.
        statement = dropwhile(lambda line: not line.strip() or line.lstrip().startswith("--"), lines)
        queries[name] = "\n".join(statement).strip()
    return queries
