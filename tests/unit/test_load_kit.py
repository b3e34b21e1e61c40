"""The load kit's pure parts: arrivals, popularity, hot accounts, journals, goals and what the benchmark measures."""

import subprocess
import sys
from collections import Counter
from itertools import chain, islice, pairwise
from random import Random
from typing import Any

import pytest

from loadtest.bench import goals
from loadtest.bench.costs import Costs, Growth
from loadtest.bench.rows import Row
from loadtest.bench.scenarios import QUICK, Accounts, OpenLoop, Pgbench, Scenario, Sizes, Together, names, stages
from loadtest.client import DONE, ERROR, IN_TRANSIT, REFUSED, UNKNOWN, Outcome
from loadtest.histograms import new_histogram, record
from loadtest.journal import Journal
from loadtest.mix import MIXES
from loadtest.open_loop.arrivals import CONSTANT, POISSON, arrivals
from loadtest.operations import Operation, Operations, alone
from loadtest.popularity import Zipf, named, uniform
from loadtest.stencil import Stencil
from loadtest.workload import BOTH, IS_PAID, PAYS, Hot, Workload, transfer_id

SHARDS = [[f"{shard}{serial:015d}" for serial in range(50)] for shard in (1, 2)]
HOT = SHARDS[0][0]


def test_constant_arrivals_of_all_processes_are_evenly_apart() -> None:
    each = [islice(arrivals(CONSTANT, 100.0, number, 4, Random(1)), 250) for number in range(4)]
    due = sorted(moment for process in each for moment in process)
    assert due == pytest.approx([place / 100 for place in range(1_000)])


def test_poisson_arrivals_come_at_the_rate_and_vary_as_they_must() -> None:
    due = list(islice(arrivals(POISSON, 200.0, 1, 2, Random(1)), 20_000))
    gaps = [later - sooner for sooner, later in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 100, rel=0.03)
    # The deviation of an exponential distribution is its mean.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize(("kind", "rate", "number"), [("bursty", 1.0, 0), (POISSON, 0.0, 0), (CONSTANT, 1.0, 2)])
def test_arrivals_that_cannot_be_are_refused(kind: str, rate: float, number: int) -> None:
    with pytest.raises(ValueError, match="arrivals"):
        arrivals(kind, rate, number, 2, Random(1))


def test_zipf_picks_places_in_proportion_to_their_rank() -> None:
    zipf, chance = Zipf(1.0), Random(1)
    found = Counter(zipf(chance.random(), 1_000) for _ in range(100_000))
    harmonic = sum(1 / rank for rank in range(1, 1_001))
    for rank in (1, 2, 10, 100):
        assert found[rank - 1] / 100_000 == pytest.approx(1 / rank / harmonic, rel=0.25)
    assert {zipf(0.0, 7), zipf(0.999_999_999, 7)} == {0, 6}


def test_popularity_is_named_as_on_the_command_line() -> None:
    assert named("uniform") is uniform
    assert named("zipf")(0.99, 100) == Zipf(1.0)(0.99, 100)
    assert named("zipf:0.5")(0.5, 100) == Zipf(0.5)(0.5, 100)
    for wrong in ("hot", "zipf:0", "zipf:x", "uniform:1"):
        with pytest.raises(ValueError, match=r"popularity|exponent|convert"):
            named(wrong)


def test_popular_accounts_are_spread_over_the_shards() -> None:
    drawn = Workload(SHARDS, crossing_share=0.0, chance=Random(1), popularity=Zipf(1.0)).draw(20_000)
    by_shard = Counter(debit[0] for debit, _, _ in drawn)
    assert by_shard["1"] / 20_000 == pytest.approx(0.55, abs=0.08)


@pytest.mark.parametrize(("role", "pays"), [(PAYS, 1.0), (IS_PAID, 0.0), (BOTH, 0.5)])
def test_a_hot_account_is_on_the_side_that_its_role_says(role: str, pays: float) -> None:
    drawn = Workload(SHARDS, crossing_share=0.3, chance=Random(1), hot=Hot(1.0, role)).draw(4_000)
    assert all(HOT in payment[:2] and payment[0] != payment[1] for payment in drawn)
    assert sum(debit == HOT for debit, _, _ in drawn) / 4_000 == pytest.approx(pays, abs=0.01)
    assert sum(debit[0] != credit[0] for debit, credit, _ in drawn) / 4_000 == pytest.approx(0.3, abs=0.03)


def sent(serial: int, debit: str, credit: str, amount_minor: int) -> tuple[str, str, str, int]:
    return transfer_id(1_790_000_000_000, serial), debit, credit, amount_minor


def test_a_journal_changes_balances_only_by_what_was_posted() -> None:
    journal, again = Journal(), lambda: ("PostTransfer", b"x")
    first, second = SHARDS[0][1], SHARDS[1][1]
    journal.told(sent(1, first, second, 10), DONE, again)
    journal.told(sent(2, first, second, 100), Outcome(REFUSED, "INSUFFICIENT_FUNDS"), again)
    journal.told(sent(3, first, second, 1_000), Outcome(ERROR, "RESOURCE_EXHAUSTED"), again)
    journal.told(sent(4, first, "NOSTRO.BANK", 5), DONE, again)
    assert journal.change_minor == {first: -15, second: 10}
    assert journal.acknowledged_count == 2 and not journal.undecided
    journal.told(sent(5, second, first, 7), Outcome(UNKNOWN, "x"), again)
    journal.told(sent(6, second, first, 8), Outcome(IN_TRANSIT), again)
    assert [each.sent[3] for each in journal.undecided] == [7, 8]


def test_journals_add_up() -> None:
    one, other = Journal(), Journal()
    one.posted(sent(1, SHARDS[0][1], SHARDS[0][2], 3))
    other.posted(sent(2, SHARDS[0][2], SHARDS[1][1], 4))
    one.add(other)
    assert one.acknowledged_count == 2
    assert one.change_minor[SHARDS[0][2]] == -1


@pytest.mark.parametrize("name", sorted(MIXES))
def test_every_mix_draws_what_can_be_asked_for_again(name: str) -> None:
    workload = Workload(SHARDS, crossing_share=0.2, chance=Random(1), hot=MIXES[name].hot)
    operations = Operations(MIXES[name], workload, "CZK", Random(2), lambda: 1_790_000_000_000, batch_transfers=5)
    drawn = [operations.draw() for _ in range(500)]
    assert {operation.name for operation in drawn} == set(MIXES[name].weights)
    ids = [each[0] for operation in drawn for call in operation.calls for each in call.sent]
    assert len(ids) == len(set(ids))
    for operation in drawn:
        for call in operation.calls:
            for each in call.sent:
                method, request = alone(call, each, "CZK")
                assert method in {"PostTransfer", "CaptureHold"}
                assert each[0].encode() in request


@pytest.mark.parametrize("name", sorted(MIXES))
def test_what_a_stencil_writes_is_what_the_messages_say(name: str) -> None:
    def drawn(stencil: Stencil | None) -> list[Operation]:
        mix = MIXES[name]
        workload = Workload(SHARDS, crossing_share=0.2, chance=Random(1), hot=mix.hot)
        milliseconds = 1_790_000_000_000
        operations = Operations(mix, workload, "CZK", Random(2), lambda: milliseconds, 5, stencil)
        return [operations.draw() for _ in range(200)]

    for usual, cut in zip(drawn(None), drawn(Stencil("CZK")), strict=True):
        for call, other in zip(usual.calls, cut.calls, strict=True):
            assert call.method == other.method and call.sent == other.sent
            assert call.request == type(call.request).FromString(other.written())
            assert [alone(call, each, "CZK") for each in call.sent] == [
                alone(other, each, "CZK") for each in other.sent
            ]


def row(name: str, **changes: Any) -> dict[str, Any]:
    us = {"gateway": 1.0, "ledger": 2.0, "postgres": 3.0, "generator": 9.0}
    return {
        "name": name,
        "transfers_per_s": 1_000.0,
        "runs_per_s": [1_000.0, 800.0, 900.0],
        "ratio_to_pgbench": 1.0,
        "p50_ms": 1.0,
        "p99_ms": 5.0,
        "processor_us_per_transfer": us,
        "table_bytes_per_transfer": 600.0,
        "table_bytes_per_even_transfer": 400.0,
        "even_transfers": 500_000,
        "memory_mb": {"ledger": 150.0},
        "ledger_mb_at_start": 100.0,
        "accounts": 100_000,
    } | changes


def verdict(rows: list[dict[str, Any]], figure: str) -> tuple[float | None, str]:
    (judged,) = [each for each in goals.judge(rows) if figure in each["figure"]]
    return judged["value"], judged["verdict"]


def test_goals_are_judged_by_floor_and_aim_whichever_way_is_better() -> None:
    local = "calls of 1,000, local"
    assert verdict([row("calls_1000_local", ratio_to_pgbench=10.0)], local) == (10.0, "aim reached")
    assert verdict([row("calls_1000_local", ratio_to_pgbench=5.0)], local) == (5.0, "floor reached")
    assert verdict([row("calls_1000_local", ratio_to_pgbench=4.9)], local) == (4.9, "MISSED")
    assert verdict([], local) == (None, "not measured")
    tables = "table and index bytes"
    assert verdict([row("calls_1000_local", table_bytes_per_even_transfer=300.0)], tables)[1] == "aim reached"
    assert verdict([row("calls_1000_local", table_bytes_per_even_transfer=450.0)], tables)[1] == "floor reached"
    assert verdict([row("calls_1000_local", table_bytes_per_even_transfer=451.0)], tables)[1] == "MISSED"
    assert verdict([row("calls_1000_local", even_transfers=499_999)], tables) == (None, "not measured")


def test_goals_that_compare_rows_take_the_worse_figure() -> None:
    rows = [row("single_1", p50_ms=3.0), row("pgbench_1", p50_ms=1.0)]
    assert verdict(rows, "single call alone") == (3.0, "floor reached")
    assert verdict([row("calls_1000_local", accounts=200_000)], "ledger memory") == (25.0, "aim reached")
    assert verdict([row("calls_1000_local", accounts=199_999)], "ledger memory") == (None, "not measured")
    few = row("calls_1000_accounts_few", transfers_per_s=1_200.0)
    assert verdict([few, row("calls_1000_accounts_many")], "many accounts") == (1.2, "floor reached")
    dear = row("calls_1000_accounts_many", processor_us_per_transfer={"postgres": 12.0})
    assert verdict([few, dear], "many accounts") == (2.0, "MISSED")


def test_a_batch_is_compared_at_every_number_in_flight() -> None:
    rows = [row(f"{kind}_{count}") for kind in ("single", "call_of") for count in (1, 16, 64, 256)]
    assert verdict(rows, "batch against") == (1.0, "aim reached")
    rows[-1]["runs_per_s"] = [940.0, 800.0, 450.0]
    assert verdict(rows, "batch against") == (0.94, "MISSED")
    rows[-1]["runs_per_s"] = [600.0, 880.0, 990.0]
    assert verdict(rows, "batch against") == (1.0, "aim reached"), "no single minute decides"
    assert verdict(rows[:-1], "batch against") == (None, "not measured")


def test_a_hot_account_is_compared_with_what_ran_beside_it() -> None:
    rows = [row("hot_account", runs_per_s=[920.0, 920.0]), row("calls_1000_local", runs_per_s=[1_500.0, 750.0])]
    assert verdict(rows, "one hot account") == (0.92, "floor reached")
    assert verdict(rows[:1], "one hot account") == (None, "not measured")


def test_the_long_form_has_every_row_several_times_and_the_short_form_some_of_them() -> None:
    def named(sizes: Sizes) -> Counter[str]:
        return Counter(name for stage in stages(sizes) for step in stage.steps for name in names(step))

    every = named(Sizes())
    compared = {f"{kind}_{count}" for kind in ("single", "call_of") for count in goals.IN_FLIGHT}
    alone = {"single_1", "call_of_1"}
    assert every == (
        dict.fromkeys(every, 2)
        | {"open_loop_after_checkpoint": 1}
        | dict.fromkeys(compared, 4)
        | dict.fromkeys(alone, 8)
    )
    needed = {"single_1", "single_64", "calls_1000_local", "calls_1000_crossing_100", "hot_account"}
    assert needed <= set(named(QUICK)) <= set(every)
    assert (named(QUICK)["single_1"], named(QUICK)["single_64"]) == (4, 2)
    shards = {stage.shards for stage in stages(Sizes())}
    assert shards == {1, 2, 4}
    counts = [step.count for stage in stages(Sizes()) for step in stage.steps if isinstance(step, Accounts)]
    assert 10_000 in counts and 500_000 in counts and 1_000_000 in counts


def test_a_transfers_bytes_are_those_of_all_rows_between_two_accounts_drawn_evenly() -> None:
    growth = Growth()
    assert growth.bytes_per_transfer == 0.0
    growth.add(1_000, 600_000)
    growth.add(3_000, 1_000_000)
    assert growth.bytes_per_transfer == 400.0
    steps = stages(Sizes())[0].steps
    together = [step.scenarios for step in steps if isinstance(step, Together)]
    scenarios = chain([step for step in steps if isinstance(step, Scenario)], *together)
    uneven = {each.name for each in scenarios if not each.is_even}
    crossing = {f"calls_1000_crossing_{percent}" for percent in (10, 50, 100)}
    assert uneven == {"hot_account", "calls_1000_zipf"} | crossing


@pytest.mark.parametrize("sizes", [Sizes(), QUICK])
def test_batches_and_single_calls_share_a_checkpoint_in_either_order(sizes: Sizes) -> None:
    together = [names(step) for step in stages(sizes)[0].steps if isinstance(step, Together)]
    pairs = [(f"single_{count}", f"call_of_{count}") for count in goals.IN_FLIGHT]
    both_ways = pairs + [pair[::-1] for pair in pairs]
    alone = [pairs[0], pairs[0][::-1]]
    hot = ("calls_1000_local", "hot_account")
    short = [*both_ways, *alone, hot]
    assert together == (short if sizes.is_short else [*both_ways * 2, *alone * 2, hot, hot[::-1]])
    apart = [name for step in stages(sizes)[0].steps if not isinstance(step, Together) for name in names(step)]
    assert not any(name in pair for name in apart for pair in together), "never after a checkpoint of its own"


@pytest.mark.parametrize("sizes", [Sizes(), QUICK])
def test_an_open_loop_is_steady_and_another_meets_what_a_checkpoint_and_earlier_rows_leave(sizes: Sizes) -> None:
    steps = stages(sizes)[0].steps
    *steadies, hard = (step for step in steps if isinstance(step, OpenLoop))
    assert len(steadies) == (1 if sizes.is_short else 2)
    (steady,) = set(steadies)
    assert (steady.name, steady.is_steady) == ("open_loop_half_peak", True)
    assert (hard.name, hard.is_steady) == ("open_loop_after_checkpoint", False)
    assert steady.share_of_peak == hard.share_of_peak
    before, between = steps[: steps.index(steady)], steps[steps.index(steady) : steps.index(hard)]
    assert "single_256" not in [name for step in between for name in names(step)], "the peak of both is the same"
    assert any("single_256" in names(step) for step in before)
    assert any("calls_1000_local" in names(step) for step in between)
    assert not any("calls_1000_local" in names(step) for step in before), "the steady one comes before what leaves much"


@pytest.mark.parametrize("sizes", [Sizes(), QUICK])
def test_pgbench_stands_before_between_and_after_the_rows(sizes: Sizes) -> None:
    kinds = [type(step).__name__ for step in stages(sizes)[0].steps]
    assert kinds[0] == kinds[-1] == "Pgbench"
    assert 0 < kinds.index("Pgbench", 1) < len(kinds) - 1
    assert all(Pgbench() in stage.steps for stage in stages(sizes))


def test_the_short_form_has_pgbench_run_where_the_bank_would_be_waited_for_and_the_long_one_between_its_passes() -> (
    None
):
    short, long = ([type(step).__name__ for step in stages(sizes)[0].steps] for sizes in (QUICK, Sizes()))
    assert short[short.index("OpenLoop") - 1] == "Pgbench"
    passes = [kind for kind in long if kind in {"Together", "Pgbench"}]
    assert passes[1:].index("Pgbench") == 2 * len(goals.IN_FLIGHT)


def test_of_an_open_loop_the_run_with_the_quicker_slow_calls_counts_and_of_all_else_the_faster_one() -> None:
    def run(rate: float, slow_ms: float, offered_per_s: float) -> Row:
        latencies = new_histogram()
        record(latencies, slow_ms / 1_000)
        return Row(
            *("row", rate, latencies, 1, Costs()),
            runs_per_s=(rate,),
            runs_p99_ms=(slow_ms,) if offered_per_s else (),
            offered_per_s=offered_per_s,
            outcomes=Counter({DONE: 1}),
        )

    offered = run(500.0, 30.0, 500.0).joined(run(499.0, 20.0, 500.0)).joined(run(501.0, 25.0, 500.0))
    assert (offered.transfers_per_s, offered.p99_ms) == (499.0, pytest.approx(20.0, rel=0.01))
    assert (offered.runs_per_s, offered.runs_p99_ms) == ((500.0, 499.0, 501.0), (30.0, 20.0, 25.0))
    closed = run(500.0, 30.0, 0.0).joined(run(499.0, 20.0, 0.0))
    assert (closed.transfers_per_s, closed.p99_ms) == (500.0, pytest.approx(30.0, rel=0.01))
    assert closed.runs_p99_ms == ()
    assert closed.outcomes.total() == 2


def test_a_choice_of_rows_brings_along_what_they_need_and_no_more() -> None:
    (stage,) = stages(QUICK, ["single_64"])
    kinds = ["Pgbench", "Accounts", "Together", "Together", "Pgbench", "Pgbench"]
    assert [type(step).__name__ for step in stage.steps] == kinds
    assert [name for step in stage.steps for name in names(step)] == ["single_64", "single_64"]
    assert not stages(QUICK, ["single_65"])


def test_the_options_of_a_locust_run_stand_in_its_web_ui_too() -> None:
    # In a process of its own: locust patches the one that it is imported into.
    question = (
        "from locust.argument_parser import get_empty_argument_parser; from loadtest.users import options; "
        "parser = get_empty_argument_parser(); options.add(parser); print(*parser.args_included_in_web_ui)"
    )
    said = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True).stdout.split()
    assert {"popularity", "crossing_share", "hot_share", "think_seconds_min", "batch_transfers"} <= set(said)
