"""The benchmark, very short, on real banks: it gives figures of books that proved sound, and of no others."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest import accounts, bank, closed_loop, proof
from loadtest.bank import OpenBank
from loadtest.bench.scenarios import OpenLoop, Pgbench, Scenario, Sizes, Together
from loadtest.bench.stage import Settings, measuring
from loadtest.closed_loop import Load
from loadtest.journal import Journal, Undecided
from loadtest.postgres import Server, find_programs
from loadtest.proof import NotSound
from loadtest.stencil import Stencil
from loadtest.workload import transfer_id

ROWS = ("single_64", "calls_1000_local", "hot_account")
PGBENCH = ("pgbench_best", "pgbench_1")
NEVER_SENT = transfer_id(1_790_000_000_000, 1)

DAMAGE = """
    SET session_replication_role = replica;
    UPDATE ledger.entry SET balance_after_minor = balance_after_minor + 1
     WHERE (account_number, version) = (SELECT account_number, max(version) FROM ledger.entry GROUP BY 1 LIMIT 1)
"""


def test_a_run_gives_every_row_and_says_what_was_proved(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    output = tmp_path / "bench.json"
    sizes = ["--accounts=400", "--seconds=1", "--warm-up-seconds=0.2", "--pgbench-scale=1", "--pgbench-clients=4"]
    command = [sys.executable, "-m", "loadtest.bench", "--quick", f"--data={tmp_path / 'banks'}", f"--output={output}"]
    done = subprocess.run([*command, *sizes, "--only", *ROWS], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "audit: clean" in done.stdout
    found = json.loads(output.read_text())
    assert found["audit"] == "clean"
    assert found["proved"]["balances_as_in_the_journal"] == 400
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {*ROWS, *PGBENCH}
    runs = {name: row["runs_per_s"] for name, row in rows.items()}
    assert {name: len(rates) for name, rates in runs.items()} == dict.fromkeys(ROWS, 2) | dict.fromkeys(PGBENCH, 3)
    assert all(row["transfers_per_s"] == max(runs[name]) for name, row in rows.items())
    posted = sum(row["outcomes"]["posted"] for row in rows.values())
    assert 0 < posted <= found["proved"]["acknowledged_ids_found"]
    for row in rows.values():
        assert row["name"] in done.stdout
        assert row["transfers_per_s"] > 0 and row["ratio_to_pgbench"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["p999_ms"]
        assert row["reasons"] == {}
        assert row["processor_us_per_transfer"]["postgres"] > 0 and row["wal_bytes_per_transfer"] > 0
    for name in ROWS:
        assert {"gateway", "ledger", "generator"} <= set(rows[name]["processor_us_per_transfer"])
        assert rows[name]["memory_mb"]["ledger"] > rows[name]["ledger_mb_at_start"] > 0
        assert 200 < rows[name]["table_bytes_per_even_transfer"] < 1_500
        even = ("single_64", "calls_1000_local")
        assert rows[name]["even_transfers"] == sum(rows[each]["outcomes"]["posted"] for each in even)
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert found["conditions"]["postgresql"][setting] == "on"
    verdicts = {goal["figure"]: goal["verdict"] for goal in found["goals"]}
    assert verdicts["cost with many accounts against few, same work"] == "not measured"
    assert verdicts["one hot account, calls of 1,000, against uniform"] != "not measured"
    assert not (tmp_path / "banks" / "two-shards").exists()


@pytest.fixture(scope="module")
def open_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBank]:
    with bank.opened(tmp_path_factory.mktemp("bench") / "bank", shards=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def loaded(open_bank: OpenBank) -> tuple[list[list[str]], Journal]:
    """Fund forty accounts, pay between them for a moment, and give the accounts and the journal."""
    access = bank.access(open_bank.data)
    numbers = asyncio.run(accounts.open_accounts(access, 40, "CZK"))
    by_shard = asyncio.run(accounts.by_shard(open_bank.account, numbers))
    load = Load(access, by_shard, "CZK", 0.5, 10, 4, 0.0, 0.5, seed=1)
    return by_shard, closed_loop.generate(load, 2).journal


def requested_checkpoints(open_bank: OpenBank) -> int:
    question = "SELECT num_requested FROM pg_stat_checkpointer"
    psql = [find_programs() / "psql", "--no-psqlrc", "--tuples-only", f"--command={question}", open_bank.dsn]
    return int(subprocess.run(psql, check=True, capture_output=True).stdout)


def prove(open_bank: OpenBank, by_shard: list[list[str]], journal: Journal) -> proof.Proved:
    server = Server(find_programs(), open_bank.dsn, open_bank.shard_dsns)
    return proof.require_sound(open_bank, server, bank.access(open_bank.data), journal, by_shard)


def test_books_that_agree_with_the_journal_are_sound(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    proved = prove(open_bank, by_shard, journal)
    assert proved.accounts == 40
    assert proved.acknowledged == journal.acknowledged_count > 0


def test_a_transfer_without_an_outcome_is_asked_for_until_it_has_one(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    sent = (transfer_id(1_790_000_000_000, 2), by_shard[0][0], by_shard[1][0], 7)
    journal.undecided.append(Undecided(sent, "PostTransfer", Stencil("CZK").write([sent])))
    before = journal.acknowledged_count
    assert prove(open_bank, by_shard, journal).asked_again == 1
    assert journal.acknowledged_count == before + 1


def test_rows_that_are_held_against_each_other_share_a_checkpoint(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    server = Server(find_programs(), open_bank.dsn, open_bank.shard_dsns)
    sizes = Sizes(seconds=0.2, warm_up_seconds=0.1, pgbench_scale=1, pgbench_clients=(2,))
    settings = Settings(sizes, generators=1, seed=1, say=lambda _: None)
    pair = (Scenario("single_4", in_flight=(4,)), Scenario("call_of_4", 4, bulk=True))
    alternatives = (Scenario("calls_4", 4, in_flight=(1, 2)), Scenario("calls_8", 8, in_flight=(1, 2)))

    with measuring(settings, open_bank, server, bank.access(open_bank.data)) as stage:
        stage.accounts_by_shard, stage.journal = by_shard, journal
        once = [Together(pair), Together(pair[::-1]), pair[0], Pgbench(), Pgbench()]
        for step, expected in (*((each, 1) for each in once), (Together(alternatives), 2), (Together(alternatives), 1)):
            before = requested_checkpoints(open_bank)
            stage.take(step)
            assert requested_checkpoints(open_bank) - before == expected, step

    runs = {name: len(row.runs_per_s) for name, row in stage.rows.items()}
    alternated = {"calls_4": 3, "calls_8": 3}
    assert runs == {"single_4": 3, "call_of_4": 2, "pgbench_best": 2, "pgbench_1": 2} | alternated


def test_a_steady_open_loop_begins_when_all_is_sealed_and_says_how_long_that_took(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    server = Server(find_programs(), open_bank.dsn, open_bank.shard_dsns)
    sizes = Sizes(seconds=0.2, warm_up_seconds=0.1, steady_seconds=0.4, rest_seconds_max=60.0)
    before = journal.acknowledged_count
    settings = Settings(sizes, generators=1, seed=1, say=lambda _: None)

    with measuring(settings, open_bank, server, bank.access(open_bank.data)) as stage:
        stage.accounts_by_shard, stage.journal = by_shard, journal
        stage.take(Scenario("single_4", in_flight=(4,)))
        stage.take(OpenLoop("hard", 0.5))
        assert server.unsealed() > 0
        stage.take(OpenLoop("steady", 0.5, is_steady=True))
    assert stage.growth.transfers == journal.acknowledged_count - before
    assert stage.growth.table_bytes > 0
    hard, steady = (stage.rows[name].to_json(1.0) for name in ("hard", "steady"))
    assert steady["unsealed_at_start"] == 0 < hard["unsealed_at_start"]
    assert 60.0 > steady["waited_seconds"] > hard["waited_seconds"] == 0.0
    for row, seconds in ((hard, 0.2), (steady, 0.4)):
        assert row["offered_per_s"] == pytest.approx(stage.rows["single_4"].transfers_per_s / 2, rel=0.5)
        assert row["generator_late_p99_ms"] > 0
        assert row["transfers_per_s"] * seconds == pytest.approx(row["offered_per_s"] * seconds)


def test_a_rest_that_takes_too_long_ends_and_the_row_says_what_was_left(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    server = Server(find_programs(), open_bank.dsn, open_bank.shard_dsns)
    sizes = Sizes(seconds=0.2, warm_up_seconds=0.1, steady_seconds=0.2, rest_seconds_max=0.0)
    settings = Settings(sizes, generators=1, seed=1, say=lambda _: None)
    with measuring(settings, open_bank, server, bank.access(open_bank.data)) as stage:
        stage.accounts_by_shard, stage.journal = by_shard, journal
        stage.take(Scenario("calls_100", 100, in_flight=(4,)))
        stage.take(OpenLoop("steady", 0.5, is_steady=True))
    assert stage.rows["steady"].unsealed_at_start > 0


def test_an_acknowledged_id_that_is_not_in_the_books_forbids_figures(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    wrong = Journal()
    wrong.add(journal)
    wrong.posted((NEVER_SENT, by_shard[0][0], by_shard[0][1], 1))
    with pytest.raises(NotSound, match=NEVER_SENT):
        prove(open_bank, by_shard, wrong)


def test_a_balance_that_differs_from_the_journal_forbids_figures(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    wrong = Journal()
    wrong.add(journal)
    wrong.change_minor[by_shard[1][0]] += 1
    with pytest.raises(NotSound, match=f"1 balances differ from the journal:\n{by_shard[1][0]}"):
        prove(open_bank, by_shard, wrong)


def test_an_audit_that_is_not_clean_forbids_figures(
    open_bank: OpenBank, loaded: tuple[list[list[str]], Journal]
) -> None:
    by_shard, journal = loaded
    psql = [find_programs() / "psql", "--no-psqlrc", "--quiet", f"--command={DAMAGE}", open_bank.shard_dsns[0]]
    subprocess.run(psql, check=True)
    with pytest.raises(NotSound, match="balance_broken"):
        prove(open_bank, by_shard, journal)
