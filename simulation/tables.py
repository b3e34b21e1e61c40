"""Tables as the migrations make them, in memory: columns, keys, checks, and the binary COPY stream read back.

The definitions are read from the migrations themselves, so a new column or table is there as soon as it is in
production. Never here: transactions (`database.py`), queries (`statements.py`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from typing import Any

import asyncpg

from services.chassis import migrations
from services.chassis.binary_copy import DAYS_TO_2000, HEADER, MICROSECONDS_TO_2000

Row = dict[str, Any]

_INTEGERS = {"bigint", "integer", "smallint"}


class Record(tuple[Any, ...]):  # noqa: SLOT001 - it has a name for each place
    """A row of an answer: by place and by name, as asyncpg gives it."""

    names: tuple[str, ...]

    def __new__(cls, names: tuple[str, ...], values: Iterable[Any]) -> "Record":  # noqa: PYI034
        record = super().__new__(cls, values)
        record.names = names
        return record

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    def keys(self) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True)
class Unique:
    """A key: no two rows that it covers have the same values."""

    name: str
    columns: tuple[str, ...]
    covers: Callable[[Row], bool] | None = None


@dataclass
class Definition:
    """A table's shape."""

    name: str
    kinds: dict[str, str] = field(default_factory=dict)
    defaults: Row = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    identity: str | None = None
    uniques: list[Unique] = field(default_factory=list)
    checks: list[tuple[str, tuple[str, ...], Callable[[Row], bool]]] = field(default_factory=list)
    is_append_only: bool = False


class Table:
    """The committed rows of a table."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.rows: list[Row] = []
        self.keys: list[dict[tuple[Any, ...], Row]] = [{} for _ in definition.uniques]
        self._by: dict[str, dict[Any, list[Row]]] = {}
        self._next_identity = 1

    def complete(self, given: Row) -> Row:
        """Return a whole row, or raise what PostgreSQL would."""
        definition = self.definition
        row = {name: _bare(given.get(name, definition.defaults.get(name))) for name in definition.kinds}
        if definition.identity is not None and row[definition.identity] is None:
            row[definition.identity] = self._next_identity
            self._next_identity += 1
        self.check(row)
        return row

    def check(self, row: Row) -> None:
        """Raise what PostgreSQL would for a row that breaks a rule of its own table."""
        definition = self.definition
        for name in definition.required:
            if row[name] is None:
                raise asyncpg.NotNullViolationError(f"null value in column {name} of {definition.name}")
        for text, names, holds in definition.checks:
            if all(row[name] is not None for name in names) and not holds(row):
                raise asyncpg.CheckViolationError(f"{definition.name} violates check {text}: {row}")

    def claims(self, row: Row) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
        """Yield the keys that a row needs: name, values, and whether a committed row has them."""
        for unique, taken in zip(self.definition.uniques, self.keys, strict=True):
            if unique.covers is None or unique.covers(row):
                key = tuple([row[name] for name in unique.columns])
                if None in key:
                    continue
                yield unique.name, key, key in taken

    def insert(self, row: Row) -> None:
        """Take a row in for good."""
        self.rows.append(row)
        for unique, taken in zip(self.definition.uniques, self.keys, strict=True):
            if unique.covers is None or unique.covers(row):
                taken[tuple(row[name] for name in unique.columns)] = row
        for column, index in self._by.items():
            index.setdefault(row[column], []).append(row)

    def delete(self, row: Row) -> None:
        """Take a row out."""
        self.rows.remove(row)
        for unique, taken in zip(self.definition.uniques, self.keys, strict=True):
            taken.pop(tuple(row[name] for name in unique.columns), None)
        for column, index in self._by.items():
            index[row[column]].remove(row)

    def get(self, *key: Any) -> Row | None:
        """Return the row with a primary key."""
        return self.keys[0].get(key)

    def by(self, column: str, value: Any) -> list[Row]:
        """Return the rows with a value, in the order of their arrival. Not for columns that are updated."""
        index = self._by.get(column)
        if index is None:
            index = self._by[column] = {}
            for row in self.rows:
                index.setdefault(row[column], []).append(row)
        return index.get(value, [])


_CREATE = r"^CREATE TABLE {}\.(\w+) \(\n(.*?)^\)[^;]*;"
_ADD = r"ALTER TABLE {}\.(\w+)\s+(ADD COLUMN .+?);"
_INDEX = r"CREATE UNIQUE INDEX (\w+) ON {}\.(\w+) \(([^)]*)\)(?:\s+WHERE (.+?))?;"
_APPEND_ONLY = re.compile(r"append_only IN ARRAY ARRAY\[(.*?)\]", re.DOTALL)


@cache
def definitions(
    schema: str = "ledger", package: str = "services.ledger", directory: str = "migrations"
) -> dict[str, Definition]:
    """Read the tables of a schema out of its migrations."""
    found: dict[str, Definition] = {}
    create, add, index = (re.compile(form.format(schema), re.DOTALL | re.MULTILINE) for form in (_CREATE, _ADD, _INDEX))
    for migration in migrations.find(package, directory):
        script = re.sub(r"--[^\n]*", "", migration.script)
        for name, body in create.findall(script):
            found[name] = _definition(name, body)
        for name, columns in add.findall(script):
            for column in _parts(columns):
                if column.startswith("ADD COLUMN "):
                    _take_column(found[name], column.removeprefix("ADD COLUMN "))
        for name, column in re.findall(rf"ALTER TABLE {schema}\.(\w+)\s+ALTER COLUMN (\w+) DROP NOT NULL", script):
            found[name].required.remove(column)
        for name in re.findall(rf"DROP INDEX {schema}\.(\w+)", script):
            for definition in found.values():
                definition.uniques = [unique for unique in definition.uniques if unique.name != name]
        for table, column in re.findall(rf"ALTER TABLE {schema}\.(\w+)\s+DROP CONSTRAINT \1_(\w+)_check", script):
            found[table].checks = [check for check in found[table].checks if check[1] != (column,)]
        for name, table, columns, condition in index.findall(script):
            covers = _condition(condition) if condition else None
            found[table].uniques.append(Unique(name, tuple(columns.replace(" ", "").split(",")), covers))
        for names in _APPEND_ONLY.findall(script):
            for name in re.findall(r"'(\w+)'", names):
                found[name].is_append_only = True
    return found


def _definition(name: str, body: str) -> Definition:
    definition = Definition(name)
    for part in _parts(body):
        if match := re.match(r"(PRIMARY KEY|UNIQUE) \(([^)]*)\)", part):
            unique = Unique(f"{name}_{match[1]}", tuple(match[2].replace(" ", "").split(",")))
            definition.uniques.insert(0 if match[1] == "PRIMARY KEY" else len(definition.uniques), unique)
        elif part.startswith("CHECK"):
            _take_checks(definition, part)
        elif not part.startswith("CONSTRAINT"):
            _take_column(definition, part)
    return definition


def _parts(body: str) -> list[str]:
    """Split at the commas outside of parentheses."""
    parts, depth = [""], 0
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [" ".join(part.split()) for part in parts if part.strip()]


def _take_column(definition: Definition, text: str) -> None:
    name, kind, *_ = text.split()
    definition.kinds[name] = kind
    if match := re.search(r"DEFAULT ('[^']*'|true|false|NULL|-?\d+)", text):
        definition.defaults[name] = _literal(match[1])
    if "NOT NULL" in text or "PRIMARY KEY" in text:
        definition.required.append(name)
    if "AS IDENTITY" in text:
        definition.identity = name
    if "PRIMARY KEY" in text:
        definition.uniques.insert(0, Unique(f"{definition.name}_pkey", (name,)))
    elif re.search(r"\bUNIQUE\b", text):
        definition.uniques.append(Unique(f"{definition.name}_{name}_key", (name,)))
    _take_checks(definition, text)


def _take_checks(definition: Definition, text: str) -> None:
    for match in re.finditer(r"CHECK \((.*)\)", text):
        names = tuple(name for name in dict.fromkeys(re.findall(r"[a-z_]+", match[1])) if name in definition.kinds)
        names = () if "NULL" in match[1] else names
        definition.checks.append((match[1], names, _condition(match[1])))


def _condition(sql: str) -> Callable[[Row], bool]:
    """Turn a simple SQL condition into one over a row."""
    python = re.sub(r"(\w+(?:\(\w+\))?) BETWEEN (-?\w+) AND (-?\w+)", r"(\2 <= \1 <= \3)", sql)
    python = python.replace("<>", "!=")
    python = re.sub(r"(?<![<>!=])=(?!=)", "==", python)
    python = re.sub(r"\b(AND|OR|NOT|IN|IS|NULL)\b", lambda word: word[0].lower().replace("null", "None"), python)
    python = re.sub(r"\bin \((\w+)\)", r"in (\1,)", python)
    code = compile(python, "<check>", "eval")
    return lambda row: bool(
        eval(code, {"__builtins__": {}, "length": len, "octet_length": lambda text: len(text.encode())}, row)
    )


def _literal(text: str) -> Any:
    if text.startswith("'"):
        return 0 if text == "'epoch'" else text.strip("'")
    return {"true": True, "false": False, "NULL": None}.get(text) if text in {"true", "false", "NULL"} else int(text)


def _bare(value: Any) -> Any:
    """Keep of an enum's member what a driver would send."""
    return int(value) if isinstance(value, IntEnum) else value


def decode(definition: Definition, columns: Sequence[str], stream: bytes) -> list[Row]:
    """Read a binary COPY stream back into rows."""
    assert stream.startswith(HEADER)
    at = len(HEADER)
    rows: list[Row] = []
    kinds = [definition.kinds[column] for column in columns]
    while True:
        count = int.from_bytes(stream[at : at + 2], signed=True)
        at += 2
        if count < 0:
            return rows
        if count != len(columns):
            raise asyncpg.BadCopyFileFormatError(f"{definition.name}: {count} columns for {len(columns)}")
        row: Row = {}
        for column, kind in zip(columns, kinds, strict=True):
            length = int.from_bytes(stream[at : at + 4], signed=True)
            at += 4
            raw = None if length < 0 else stream[at : at + length]
            at += max(length, 0)
            row[column] = raw if raw is None else _value(kind, raw)
        rows.append(row)


def _value(kind: str, raw: bytes) -> Any:
    if kind in _INTEGERS:
        return int.from_bytes(raw, signed=True)
    if kind == "timestamptz":
        return int.from_bytes(raw, signed=True) + MICROSECONDS_TO_2000
    if kind == "date":
        return int.from_bytes(raw, signed=True) + DAYS_TO_2000
    if kind == "text":
        return raw.decode()
    if kind == "boolean":
        return raw == b"\1"
    return raw
