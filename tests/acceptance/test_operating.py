"""What an operator sees of a running bank: panels with data, `hivecore top`, and alerts for what is broken on purpose."""

import asyncio
import re
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator

import pytest
import watched_bank
from command_line import hivecore
from watched_bank import Report, WatchedBank

from services.cli import channels, health
from tools import prometheus
from tools.dashboards import panels, preview, traffic
from tools.dashboards.panels import Dashboard

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason=prometheus.MISSING)


@pytest.fixture(scope="module")
async def watched() -> AsyncIterator[WatchedBank]:
    async with watched_bank.opened() as opened:
        yield opened


async def test_a_sound_bank_wakes_nobody(watched: WatchedBank) -> None:
    await watched.until_measured("count(hivecore_ledger_is_writer == 1) == 4")
    await watched.until_measured("count(up == 1) == 6")
    await watched.until_measured("count(shard_currency:conservation_gap_minor_units:max == 0) == 12")
    assert await watched.prometheus.firing() == {}


@pytest.fixture(scope="module")
async def busy(watched: WatchedBank) -> WatchedBank:
    """Let callers do a little of everything."""
    await traffic.run(watched.bank, seconds=3.0)
    await watched.until_measured("sum(rate(hivecore_ledger_transfers_total[15s])) > 0")
    await watched.until_measured("sum(hivecore_ledger_open_holds) > 0")
    return watched


@pytest.mark.parametrize("page", panels.ALL, ids=lambda page: page.name)
async def test_every_query_of_every_panel_finds_something(busy: WatchedBank, page: Dashboard) -> None:
    empty = [
        f"{panel.title}: {query.expression}"
        for panel in page.panels
        for query in panel.queries
        if not await busy.prometheus.query(preview.asked(query))
    ]
    assert empty == []


def _exposed(watched: WatchedBank, process: str) -> str:
    with urllib.request.urlopen(f"http://{watched.bank.topology.metrics[process]}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.skipif(shutil.which("promtool") is None, reason=prometheus.MISSING)
@pytest.mark.parametrize("process", ["account", "ledger-1", "gateway"])
async def test_promtools_lint_has_nothing_to_say_about_a_process(busy: WatchedBank, process: str) -> None:
    text = await asyncio.to_thread(_exposed, busy, process)
    assert 'hivecore_build_info{python="' in text
    assert f'service="{process.partition("-")[0]}"' in text
    assert _lint(text) == (0, "")
    # It would have: a counter that does not say that it is one.
    assert "counter metrics should have" in _lint(f"{text}# HELP calls How many?\n# TYPE calls counter\ncalls 1\n")[1]


def _lint(text: str) -> tuple[int, str]:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_health_checks_are_counted_apart_from_calls(busy: WatchedBank) -> None:
    def handled(text: str, service: str) -> float:
        return sum(map(float, re.findall(rf'grpc_server_handled_total{{[^}}]*"{service}"[^}}]*}} (\S+)', text)))

    before = await asyncio.to_thread(_exposed, busy, "gateway")
    async with channels.channel(busy.bank.gateway) as channel:
        for _ in range(5):
            assert await health.serves(channel)
    after = await asyncio.to_thread(_exposed, busy, "gateway")
    assert handled(after, "grpc.health.v1.Health") - handled(before, "grpc.health.v1.Health") >= 5
    assert handled(after, "hivecore.gateway.v1.Bank") == handled(before, "hivecore.gateway.v1.Bank") > 0


async def test_top_shows_the_same_at_a_glance(busy: WatchedBank) -> None:
    data = busy.bank.places.data
    looking = asyncio.create_task(hivecore("top", "--json", "--seconds", "2", "--data", data))
    await busy.pay(1, 2)
    while not looking.done():
        await busy.pay(1, 2)
    run = await looking
    assert run.status == 0, run
    shards = run.json["shards"]
    assert [shard["shard_id"] for shard in shards] == [1, 2, 3, 4]
    assert [shard["writer"] for shard in shards] == [f"ledger-{number}" for number in (1, 2, 3, 4)]
    assert {shard["gap_minor"] for shard in shards} == {0}
    assert shards[0]["transfers_per_second"] > 0
    assert shards[0]["commit_p99_seconds"] > 0
    assert run.json["gateways"][0]["calls_per_second"] > 0
    assert run.json["sound"]


async def test_top_names_who_is_silent_and_ends_with_status_1(busy: WatchedBank) -> None:
    address = busy.bank.topology.metrics["gateway"]
    sound = await hivecore("top", "--once", "--seconds", "0.1", "--metrics", address)
    assert "gateway" in sound.stdout
    missing = await hivecore("top", "--once", "--seconds", "0.1", "--metrics", address, "--metrics", "127.0.0.1:1")
    assert missing.status == 1
    assert "127.0.0.1:1 does not answer" in missing.stdout


async def test_what_breaks_is_reported_for_its_shard_and_clears(watched: WatchedBank, report: Report) -> None:
    """Three things break at once, each on a shard of its own; a fourth shard stays sound."""

    async def change_a_balance() -> None:
        account = watched.accounts[1]
        change = (
            "UPDATE ledger.entry SET balance_after_minor = balance_after_minor {} 700"
            f" WHERE account_number = {int(account)}"
        )
        await watched.meddle(1, change.format("-"))
        seconds = await watched.until_fires("HivecoreConservationGap", shard="1", currency="CZK")
        await watched.meddle(1, change.format("+"))
        report("a balance changed behind the ledger's back", "HivecoreConservationGap", seconds)
        report("the same, repaired", "silent", await watched.until_silent("HivecoreConservationGap"))

    async def stop_a_ledger() -> None:
        await watched.pay(3, 2)  # From now on the payee's shard is believed to be there.
        async with watched.stopped("ledger-2"):
            await watched.pay(3, 2, seconds=1.0)
            writer, crossing = await asyncio.gather(
                watched.until_fires("HivecoreNoWriter", shard="2"),
                watched.until_fires("HivecoreCrossingStuck", shard="3", peer="2"),
            )
        report("a ledger stopped (SIGSTOP)", "HivecoreNoWriter", writer)
        report("money on its way to it", "HivecoreCrossingStuck", crossing)
        report("the same, woken", "silent", await watched.until_silent("HivecoreCrossingStuck"))

    async def close_a_database() -> None:
        async with watched.closed_database(4):
            seconds = await watched.until_fires("HivecoreNoWriter", shard="4")
        report("a shard's PostgreSQL away", "HivecoreNoWriter", seconds)

    await asyncio.gather(change_a_balance(), stop_a_ledger(), close_a_database())
    report("all of it mended", "silent", await watched.until_silent("HivecoreNoWriter", "HivecoreBooksNotWatched"))


async def test_a_writer_that_the_fence_stopped_is_reported(watched: WatchedBank, report: Report) -> None:
    await watched.meddle(3, "UPDATE ledger.journal_head SET writer_epoch = writer_epoch + 1")
    await watched.pay(3, 1)
    report(
        "another writer took the books", "HivecoreFenceLost", await watched.until_fires("HivecoreFenceLost", shard="3")
    )
