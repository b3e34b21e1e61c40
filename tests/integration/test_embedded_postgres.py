"""The bank's own PostgreSQL: durable, kept, owned by one, and back after any kind of death."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import pytest

from services.chassis import children, ports, postgres_account
from services.chassis.children import LaunchError
from services.chassis.embedded_postgres import EmbeddedPostgres, binaries
from services.chassis.postgres_settings import DURABLE, settings

PATIENCE_SECONDS = 20

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about giving root up")


async def ask(dsn: str, query: str, *arguments: object) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def keep_a_row(server: EmbeddedPostgres, value: str) -> None:
    await ask(server.dsn("postgres"), "CREATE TABLE IF NOT EXISTS kept (value text)")
    await ask(server.dsn("postgres"), "INSERT INTO kept VALUES ($1)", value)


async def kept_rows(server: EmbeddedPostgres) -> object:
    return await ask(server.dsn("postgres"), "SELECT array_agg(value ORDER BY value) FROM kept")


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie, which only waits to be looked at, does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def proc(server: EmbeddedPostgres) -> Path:
    """Give the kernel's view of a server's process."""
    return Path(f"/proc/{server.pid}")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *DURABLE.items(),
        ("data_checksums", "on"),
        ("jit", "off"),
        ("full_page_writes", "on"),
        ("server_encoding", "UTF8"),
    ],
)
async def test_postgresql_itself_reports_the_settings_that_keep_commits(
    postgres: EmbeddedPostgres, setting: str, value: str
) -> None:
    assert await ask(postgres.dsn("postgres"), "SELECT current_setting($1)", setting) == value


async def test_statements_are_counted(postgres: EmbeddedPostgres) -> None:
    assert await ask(postgres.dsn("postgres"), "SELECT count(*) > 0 FROM pg_stat_statements")


def test_settings_that_would_lose_commits_are_refused() -> None:
    with pytest.raises(ValueError, match="fsync, synchronous_commit"):
        settings(2**30, {"fsync": "off", "synchronous_commit": "off", "work_mem": "1MB"})


async def test_socket_and_tcp_lead_to_the_same_server(postgres: EmbeddedPostgres) -> None:
    query = "SELECT system_identifier FROM pg_control_system()"
    assert await ask(postgres.dsn("postgres"), query) == await ask(postgres.tcp_dsn("postgres"), query)
    assert await ask(postgres.dsn("postgres"), "SELECT inet_server_port()") is None
    assert await ask(postgres.tcp_dsn("postgres"), "SELECT inet_server_port()") == postgres.port


async def test_tcp_wants_the_password_and_only_its_owner_can_read_it(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(postgres.tcp_dsn("postgres").replace(postgres.password(), "guessed"), "SELECT 1")
    assert stat.S_IMODE((postgres.directory / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((postgres.directory / "sockets").stat().st_mode) == 0o700
    assert stat.S_IMODE(postgres.data.stat().st_mode) == 0o700


async def test_a_database_is_made_once_and_its_name_may_be_anything(postgres: EmbeddedPostgres) -> None:
    name = 'two words, "quotes" and a /'
    await postgres.ensure_database(name)
    await postgres.ensure_database(name)
    assert await ask(postgres.dsn(name), "SELECT current_database()") == name
    assert await ask(postgres.tcp_dsn(name), "SELECT current_database()") == name
    await postgres.drop_database(name)
    await postgres.drop_database(name)


async def test_fixture_databases_are_empty_and_different(make_database, database: str) -> None:
    other = await make_database()
    await ask(database, "CREATE TABLE mine ()")
    assert await ask(other, "SELECT to_regclass('mine')") is None


async def test_data_survives_a_stop_and_a_start(place: Path) -> None:
    server = EmbeddedPostgres(place)
    for value in ("first", "second"):
        await server.start()
        await keep_a_row(server, value)
        await server.stop()
        assert server.pid is None
        assert not (server.data / "postmaster.pid").exists()
    async with server:
        assert await kept_rows(server) == ["first", "second"]


async def test_a_second_start_on_the_same_directory_is_refused_with_a_sentence(place: Path) -> None:
    async with EmbeddedPostgres(place) as server:
        with pytest.raises(LaunchError, match=rf"PostgreSQL in {place} is already running \(process {os.getpid()}\)"):
            await EmbeddedPostgres(place).start()
        assert await ask(server.dsn("postgres"), "SELECT 1") == 1


async def test_a_killed_server_keeps_its_commits_and_its_port(place: Path) -> None:
    async with EmbeddedPostgres(place) as server:
        await keep_a_row(server, "committed")
        before = server.dsn("postgres")
        os.kill(server.pid, signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        await server.start()
        assert server.dsn("postgres") == before
        assert await kept_rows(server) == ["committed"]


OWNER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    import asyncpg
    from services.chassis.embedded_postgres import EmbeddedPostgres

    async def main():
        server = EmbeddedPostgres(Path(sys.argv[1]))
        await server.start()
        connection = await asyncpg.connect(server.dsn("postgres"))
        await connection.execute("CREATE TABLE kept (value text)")
        await connection.execute("INSERT INTO kept VALUES ('committed')")
        print(server.pid, server._watchdog.pid, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
""")


def start_owner(place: Path) -> tuple[subprocess.Popen[str], int, int]:
    """Another process that owns a server; give it with the server's process and its watchdog's."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(place)], stdout=subprocess.PIPE, text=True)
    server, watchdog = owner.stdout.readline().split()
    return owner, int(server), int(watchdog)


def kill(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    owner.stdout.close()


async def test_a_server_stops_by_itself_when_its_owner_is_killed(place: Path) -> None:
    owner, server, _ = start_owner(place)
    kill(owner)
    assert await children.until(lambda: not lives(server), PATIENCE_SECONDS)
    assert not (place / "data" / "postmaster.pid").exists()


async def test_a_server_that_outlived_its_killed_owner_is_stopped_and_started_anew(place: Path) -> None:
    owner, orphan, watchdog = start_owner(place)
    os.kill(watchdog, signal.SIGKILL)
    kill(owner)
    assert lives(orphan)
    async with EmbeddedPostgres(place) as server:
        assert not lives(orphan)
        assert await kept_rows(server) == ["committed"]
        assert "received fast shutdown request" in (place / "server.log.1").read_text()


async def test_a_directory_whose_owner_and_server_were_both_killed_opens_again(place: Path) -> None:
    owner, orphan, watchdog = start_owner(place)
    for pid in (watchdog, orphan):
        os.kill(pid, signal.SIGKILL)
    kill(owner)
    async with EmbeddedPostgres(place) as server:
        assert await kept_rows(server) == ["committed"]


def start_stranger(server: EmbeddedPostgres) -> subprocess.Popen[bytes]:
    """Start some process of the server's account."""
    with Path(os.devnull).open("wb") as nowhere:
        return server._run_as.start(nowhere, "/bin/sleep", "60")


async def test_stale_files_that_name_a_living_stranger_do_not_stop_it(place: Path) -> None:
    server = EmbeddedPostgres(place)
    await server.start()
    await keep_a_row(server, "committed")
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()
    pid_file = server.data / "postmaster.pid"
    left_behind = pid_file.read_text().splitlines()
    await server.stop()
    stranger = start_stranger(server)
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *left_behind[1:], ""]))
        (place / "lock").write_text(f"{stranger.pid}\n")
        async with server:
            assert await kept_rows(server) == ["committed"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_an_interrupted_first_start_leaves_nothing_in_the_way(place: Path) -> None:
    half_made, password = place / "data.unfinished-abc", place / "data.unfinished-abc.password"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    password.write_text("secret")
    async with EmbeddedPostgres(place):
        assert not half_made.exists()
        assert not password.exists()


async def test_a_cluster_of_another_major_version_is_left_alone(place: Path) -> None:
    async with EmbeddedPostgres(place) as server:
        pass
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(LaunchError, match="was made by PostgreSQL 9 and the programs here are of"):
        await server.start()


async def test_a_taken_port_is_said_and_not_waited_for(place: Path, postgres: EmbeddedPostgres) -> None:
    server = EmbeddedPostgres(place, port=postgres.port)
    with pytest.raises(LaunchError, match="Address already in use"):
        await server.start()
    assert server.pid is None


async def test_programs_that_are_not_there_are_said(place: Path) -> None:
    with pytest.raises(LaunchError, match="there is no PostgreSQL in"):
        await EmbeddedPostgres(place, programs=place).start()


async def test_a_directory_too_long_for_a_socket_works_all_the_same(place: Path) -> None:
    async with EmbeddedPostgres(place / ("long" * 25)) as server:
        assert await ask(server.dsn("postgres"), "SELECT 1") == 1
        sockets = server._sockets
    assert not sockets.exists()


@root_only
async def test_root_hands_the_server_to_an_account(postgres: EmbeddedPostgres) -> None:
    assert postgres.data.stat().st_uid == proc(postgres).stat().st_uid != 0


@root_only
async def test_a_directory_that_others_cannot_reach_is_used_in_a_namespace_and_stays_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = [parent.stat().st_mode for parent in (closed, *closed.parents)]
    server = EmbeddedPostgres(closed / "postgres")
    if not postgres_account.RunAs.namespace().can("/bin/true"):
        pytest.skip("user namespaces are not allowed here")
    for value in ("first", "second"):
        async with server:
            await keep_a_row(server, value)
    assert server.data.stat().st_uid == 0
    assert [parent.stat().st_mode for parent in (closed, *closed.parents)] == before


@root_only
def test_root_with_nobody_to_hand_it_to_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_account, "NAMESPACE", ("/bin/false",))
    tmp_path.chmod(0o700)
    with pytest.raises(LaunchError, match="choose a data directory that everybody can pass through"):
        postgres_account.choose(tmp_path, tmp_path / "data")


@root_only
async def test_programs_that_the_account_cannot_reach_are_copied_once(place: Path, tmp_path: Path) -> None:
    installation = binaries().parent
    package = tmp_path / "closed" / "embedded_postgres"
    package.mkdir(parents=True)
    package.parent.chmod(0o700)
    (package / "pginstall").symlink_to(installation)
    package.with_name("embedded_postgres.libs").symlink_to(installation.parent.with_name("embedded_postgres.libs"))
    server = EmbeddedPostgres(place, programs=package / "pginstall" / "bin")
    async with server:
        assert (proc(server) / "exe").readlink().is_relative_to(place / "binaries")
    made = (place / "binaries").stat().st_mtime_ns
    async with server:
        assert (place / "binaries").stat().st_mtime_ns == made


AS_ORDINARY_USER = textwrap.dedent("""
    import asyncio, concurrent.futures.thread, os, pwd, sys
    from pathlib import Path
    import asyncpg
    from services.chassis.embedded_postgres import EmbeddedPostgres

    async def main():
        async with EmbeddedPostgres(Path(sys.argv[1])) as server:
            connection = await asyncpg.connect(server.dsn("postgres"))
            print(await connection.fetchval("SHOW data_directory"))
            await connection.close()

    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    asyncio.run(main())
""")


@root_only
def test_an_ordinary_user_runs_it_as_himself(place: Path) -> None:
    place.chmod(0o777)
    directory = place / "postgres"
    done = subprocess.run(
        [sys.executable, "-c", AS_ORDINARY_USER, str(directory)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(directory / "data")), done.stderr
    assert directory.stat().st_uid == (directory / "data").stat().st_uid == 65534
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_chosen_ports_are_free_and_below_those_of_outgoing_connections() -> None:
    taken = frozenset(ports.PORTS[1:])
    assert ports.choose_free(taken) == ports.PORTS[0]
    assert ports.PORTS.stop <= 32_768


@pytest.mark.skipif(sys.platform != "linux", reason="ports can be held on Linux only")
async def test_a_held_port_is_chosen_by_nobody_and_whoever_knows_it_may_listen() -> None:
    taken = frozenset(ports.PORTS[1:])
    port = ports.choose_free(taken)
    with ports.held([port]):
        with pytest.raises(OSError, match="no free TCP port"):
            ports.choose_free(taken)
        assert ports.is_free(port), "for those that had it before"
        server = await asyncio.start_server(lambda _, writer: writer.close(), ports.HOST, port)
        async with server:
            assert not ports.is_free(port)
            with ports.held([port]):
                pass
    assert ports.choose_free(taken) == port
