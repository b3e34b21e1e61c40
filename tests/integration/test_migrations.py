"""Migrations are applied once each, in order, whoever starts first; a changed file is noticed."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from services.chassis import migrations, postgres
from services.chassis.migrations import MigrationError, migrate

_NUMBERS = count()

ONE = "CREATE TABLE town (name text);\nINSERT INTO town VALUES ('Praha');\n"
TWO = "ALTER TABLE town ADD COLUMN size bigint;\n"


class Package:
    """A Python package with migrations, written by the test."""

    def __init__(self, root: Path) -> None:
        self.name = f"migrated_{next(_NUMBERS)}"
        self._directory = root / self.name / "migrations"
        self._directory.mkdir(parents=True)
        (root / self.name / "__init__.py").touch()

    def write(self, **scripts: str) -> None:
        for name, script in scripts.items():
            (self._directory / f"{name.removeprefix('n')}.sql").write_text(script)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Package(tmp_path)


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await postgres.connect(database, application="test")
    yield connection
    await connection.close()


async def _towns(connection: asyncpg.Connection) -> list[str]:
    return [row["name"] for row in await connection.fetch("TABLE town")]


async def test_each_is_applied_once_in_order_and_a_second_run_does_nothing(
    connection: asyncpg.Connection, package: Package
) -> None:
    package.write(n0002_size=TWO, n0001_towns=ONE)
    assert await migrate(connection, package.name) == 2
    assert await migrate(connection, package.name) == 0
    assert await _towns(connection) == ["Praha"]
    rows = await connection.fetch("SELECT package, number, name FROM public.schema_migration ORDER BY number")
    assert [tuple(row) for row in rows] == [(package.name, 1, "towns"), (package.name, 2, "size")]


async def test_only_what_is_new_is_applied_later(connection: asyncpg.Connection, package: Package) -> None:
    package.write(n0001_towns=ONE)
    assert await migrate(connection, package.name) == 1
    package.write(n0002_size=TWO)
    assert await migrate(connection, package.name) == 1


async def test_numbers_may_land_in_any_order(connection: asyncpg.Connection, package: Package) -> None:
    package.write(n0001_towns=ONE, n0004_size=TWO)
    assert await migrate(connection, package.name) == 2
    package.write(n0002_later="INSERT INTO town VALUES ('Brno');", n0003_latest="INSERT INTO town VALUES ('Zlin');")
    assert await migrate(connection, package.name) == 2
    assert await migrate(connection, package.name) == 0
    assert await _towns(connection) == ["Praha", "Brno", "Zlin"]


async def test_a_file_changed_after_it_was_applied_is_an_error(
    connection: asyncpg.Connection, package: Package
) -> None:
    package.write(n0001_towns=ONE)
    await migrate(connection, package.name)
    package.write(n0001_towns=ONE + "-- a word more\n", n0002_size=TWO)
    with pytest.raises(MigrationError, match=r"0001_towns\.sql was changed after it had been applied"):
        await migrate(connection, package.name)


async def test_a_migration_that_fails_leaves_nothing_behind_and_those_before_it_in_place(
    connection: asyncpg.Connection, package: Package
) -> None:
    package.write(n0001_towns=ONE, n0002_broken="INSERT INTO town VALUES ('Brno'); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, package.name)
    assert await _towns(connection) == ["Praha"]
    package.write(n0002_broken="INSERT INTO town VALUES ('Brno');")
    assert await migrate(connection, package.name) == 1
    assert await _towns(connection) == ["Praha", "Brno"]


async def test_a_migration_that_commits_by_itself_is_an_error(connection: asyncpg.Connection, package: Package) -> None:
    package.write(n0001_towns=f"{ONE}; COMMIT;")
    with pytest.raises(MigrationError, match=r"0001_towns\.sql ends its own transaction"):
        await migrate(connection, package.name)


async def test_processes_that_start_together_apply_each_migration_once(database: str, package: Package) -> None:
    package.write(n0001_towns=ONE, n0002_size=TWO)

    async def start() -> int:
        connection = await postgres.connect(database, application="test")
        try:
            return await migrate(connection, package.name)
        finally:
            await connection.close()

    assert sum(await asyncio.gather(*(start() for _ in range(8)))) == 2


async def test_packages_do_not_see_each_others_numbers(
    connection: asyncpg.Connection, tmp_path: Path, package: Package
) -> None:
    other = Package(tmp_path)
    package.write(n0001_towns=ONE)
    other.write(n0001_rivers="CREATE TABLE river (name text);")
    assert await migrate(connection, package.name) == 1
    assert await migrate(connection, other.name) == 1


async def test_numbers_of_a_newer_release_are_left_alone(
    connection: asyncpg.Connection, tmp_path: Path, package: Package
) -> None:
    package.write(n0001_towns=ONE, n0002_size=TWO)
    await migrate(connection, package.name)
    (tmp_path / package.name / "migrations" / "0002_size.sql").unlink()
    assert await migrate(connection, package.name) == 0


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["n0001_a", "n0001_b"], "have one number"),
        (["n1_a"], "is not NNNN_name.sql"),
    ],
)
def test_files_have_a_number_each(package: Package, names: list[str], complaint: str) -> None:
    package.write(**dict.fromkeys(names, ONE))
    with pytest.raises(MigrationError, match=complaint):
        migrations.find(package.name)


async def test_a_long_migration_is_not_cut_by_the_statement_timeout(database: str, package: Package) -> None:
    package.write(n0001_slow="SELECT pg_sleep(0.2);")
    connection = await postgres.connect(database, application="test", statement_seconds=0.05)
    assert await migrate(connection, package.name) == 1
    with pytest.raises(asyncpg.QueryCanceledError):
        await connection.execute("SELECT pg_sleep(1)")
    await connection.close()
