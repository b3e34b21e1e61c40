"""SQL lives in `.sql` files; this loads a room's `queries.sql` as named blocks.

A block starts with a line `-- name --` and runs to the next one; comment lines below the name
belong to it. Never here: building SQL from strings.
"""

import re
from collections.abc import Mapping
from importlib import resources
from itertools import dropwhile

_NAME_LINE = re.compile(r"^-- ([a-z][a-z0-9_]*) --$")


class Queries(dict[str, str]):
    """Queries of one package by name; asking for one that is not there says where to look."""

    def __init__(self, package: str) -> None:
        super().__init__()
        self.package = package

    def __missing__(self, name: str) -> str:
        raise KeyError(f"no query {name!r} in queries.sql of {self.package}")


def load(package: str) -> Mapping[str, str]:
    """Read `queries.sql` of a package. Raises `ValueError` for a file that breaks the form."""
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    return parse(package, text)


def parse(package: str, text: str) -> Queries:
    """Split text into its named blocks; `package` only serves messages."""
    blocks: dict[str, list[str]] = {}
    block: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _NAME_LINE.match(line.rstrip()):
            name = match[1]
            if name in blocks:
                raise ValueError(f"queries.sql of {package}, line {number}: {name} is there twice")
            block = blocks[name] = []
        elif block is not None:
            block.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"queries.sql of {package}, line {number}: SQL before the first `-- name --`")
    queries = Queries(package)
    for name, lines in blocks.items():
        if not any(line.strip() and not line.lstrip().startswith("--") for line in lines):
            raise ValueError(f"queries.sql of {package}: {name} has no SQL")
        # Without the words before it, a statement's first word is its verb: so traces and PostgreSQL's own lists name it.
        statement = dropwhile(lambda line: not line.strip() or line.lstrip().startswith("--"), lines)
        queries[name] = "\n".join(statement).strip()
    return queries
