"""What all tests share: the loop that the services run on, repeatable chance, one real PostgreSQL.

Hypothesis draws the same examples at every run; `--hypothesis-profile=wide` draws ten times as many,
others each time, and prints how to see a failure again. `mutants` is for `make mutate`: one failure is enough
there, nobody reads the smallest.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ledger_databases
import pytest
import uvloop
from hypothesis import Phase, settings
from ledger_databases import MakeDatabase

from services.chassis.embedded_postgres import EmbeddedPostgres

# As the services and the command do: gRPC's own handlers crash a child that is forked while its threads work.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=100)
settings.register_profile("wide", deadline=None, print_blob=True, max_examples=1_000)
settings.register_profile(
    "mutants", settings.get_profile("repeatable"), phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
settings.load_profile("repeatable")

_numbers = count(1)


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Use uvloop, as `services/chassis/process.py` does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """Say which tests run side by side when there is more than one process for them."""
    from halves import Halves  # One process does without what this needs.

    return Halves(config, log)


@contextmanager
def _open_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hivecore-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def place() -> Iterator[Path]:
    """Give an empty directory that every account can pass through; pytest's own are closed to others."""
    with _open_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """Run a server with the settings that a bank gets; shared, so never stopped by a test."""
    with _open_directory() as directory:
        async with EmbeddedPostgres(directory) as server:
            yield server


@pytest.fixture
async def make_database(postgres: EmbeddedPostgres) -> AsyncIterator[MakeDatabase]:
    """Make as many empty databases as a test wants, by DSN; they are dropped when it ends."""
    names: list[str] = []

    async def make() -> str:
        names.append(f"test_{next(_numbers)}")
        await postgres.ensure_database(names[-1])
        return postgres.dsn(names[-1])

    yield make
    for name in names:
        await postgres.drop_database(name)


@pytest.fixture
async def database(make_database: MakeDatabase) -> str:
    """One fresh empty database, by DSN."""
    return await make_database()


@pytest.fixture(scope="session")
async def _shared_books(postgres: EmbeddedPostgres) -> dict[int, str]:
    dsns = {}
    for shard_id in (1, 2, 3):
        await postgres.ensure_database(f"books_{shard_id}")
        dsns[shard_id] = postgres.dsn(f"books_{shard_id}")
        await ledger_databases.migrate(dsns[shard_id])
    return dsns


@pytest.fixture
async def ledger_dsns(_shared_books: dict[int, str]) -> dict[int, str]:
    """Three databases with empty books, by shard and DSN; nobody else uses them during the test."""
    for dsn in _shared_books.values():
        await ledger_databases.empty(dsn)
    return dict(_shared_books)


@pytest.fixture
async def ledger_dsn(ledger_dsns: dict[int, str]) -> str:
    """One database with empty books, by DSN."""
    return ledger_dsns[1]
