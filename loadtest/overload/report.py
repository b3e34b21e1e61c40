"""The figures of an overload: what was offered, what was carried out, what callers waited; as a table and a curve.

Pure but for the files. Never here: sending anything.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from loadtest.client import POSTED, UNKNOWN, Outcome
from loadtest.overload.inside import Inside

GENERATOR: Final = "generator"
"""The part of the processors that is no bank's; `others` is the other."""

POSTING: Final = ("PostTransfers",)
LOOKING_UP: Final = ("GetBalance", "GetTransfer", "ListEntries")
"""Methods of the gateway."""
UNREAD: Final = "queues"
UNREAD_LOOK_UPS: Final = "look_ups"
"""The causes for which transfers and look-ups are turned away before they are read."""

OFFERED_TIMES_MIN: Final = 9.0
"""Of the capacity, in the overload: with less it is the generator that is shown."""
INSIDE_P99_MS_MAX: Final = 1_000.0
"""Half a second in the queue at most, as estimated, and what a batch takes, on a machine that has more to do."""
PROCESSOR_SHARE_MIN: Final = 0.6
BESIDE_LOOK_UPS_MIN: Final = 0.95
LOOK_UP_P99_MS_MAX: Final = 500.0
"""0.15 s at one shard, as estimated, on a machine that has more to do, and the way there."""
LOOK_UPS_OFFERED_TIMES_MIN: Final = 2.7
"""Of the balances that callers without a pause are told, in the storm: with less it is the generator that is shown."""
LOOK_UPS_ANSWERED_SHARE_MIN: Final = 0.1
"""Of the same kinds of look-ups from callers without a pause and nothing beside them: who refuses all is in time, too."""

BACK_SHARE: Final = 0.9
"""Of what is offered: a second in which so much is carried out is a normal one."""


class Answered(NamedTuple):
    """One call."""

    due: float
    """Seconds from the phase's start; so is the next."""
    at: float
    late_seconds: float
    """From when it was due until the generator sent it."""
    seconds: float
    """From when it was sent, or sent again, until its answer."""
    outcomes: Sequence[Outcome]

    @property
    def posted(self) -> int:
        """How many of its transfers were carried out."""
        return sum(outcome.kind == POSTED for outcome in self.outcomes)


@dataclass(slots=True)
class Phase:
    """A rate that was offered, and what became of it."""

    name: str
    per_second: float
    """Transfers."""
    seconds: float
    sending_seconds: float = 0.0
    """How long the generator needed for what it was to send in `seconds`."""
    answered: list[Answered] = field(default_factory=list)
    attempts: int = 0
    dropped: int = 0
    """Transfers that were due and not sent, since too many calls were unanswered."""
    cores: dict[str, float] = field(default_factory=dict)
    """Processors that each part kept busy while it was sent."""
    inside: Inside | None = None
    """What the gateways saw of it, if nothing else was offered meanwhile."""

    def is_late(self, at: float) -> bool:
        """Tell whether the phase is over at a second of it."""
        return at > self.seconds

    def posted_by_second(self) -> list[int]:
        """Count what was carried out, by the second of the answer."""
        counts: Counter[int] = Counter()
        for call in self.answered:
            counts[int(call.at)] += call.posted
        return [counts[second] for second in range(max(round(self.sending_seconds), 1))]

    def back_after_seconds(self) -> int | None:
        """Give the first second from which on what is offered is carried out; None when there is none."""
        # Of the last second not all was answered when sending ended.
        enough = [posted >= BACK_SHARE * self.per_second for posted in self.posted_by_second()][:-1]
        return next((second for second in range(len(enough)) if all(enough[second:])), None)

    def figures(self) -> dict[str, Any]:
        """Give all figures."""
        done = [call.seconds for call in self.answered if call.posted]
        refused = [call.seconds for call in self.answered if not call.posted]
        seconds = max(self.sending_seconds, self.seconds)
        inside = self.inside
        return {
            "name": self.name,
            "wanted_per_s": round(self.per_second),
            "offered_per_s": round((sum(len(call.outcomes) for call in self.answered) + self.dropped) / seconds),
            "posted_per_s": round(sum(call.posted for call in self.answered) / seconds),
            "late_p99_ms": percentile([call.late_seconds for call in self.answered], 99),
            "p50_ms": percentile(done, 50),
            "p99_ms": percentile(done, 99),
            "inside_p50_ms": None if inside is None else inside.ms(POSTING, len(done) * 0.5),
            "inside_p99_ms": None if inside is None else inside.ms(POSTING, len(done) * 0.01),
            "calls": len(self.answered),
            "calls_refused": len(refused),
            "calls_turned_away_unread": None if inside is None else round(inside.turned_away.get(UNREAD, 0)),
            "refused_p50_ms": percentile(refused, 50),
            "refused_p99_ms": percentile(refused, 99),
            "unknown": sum(outcome.kind == UNKNOWN for call in self.answered for outcome in call.outcomes),
            "dropped": self.dropped,
            "attempts": self.attempts,
            "not_posted": dict(
                Counter(outcome.reason for call in self.answered for outcome in call.outcomes if outcome.kind != POSTED)
            ),
            "sending_seconds": round(self.sending_seconds, 1),
            "back_after_seconds": self.back_after_seconds(),
            "cores": rounded(self.cores),
            "posted_by_second": self.posted_by_second(),
        }


def to_json(
    capacities: Mapping[str, Any],
    phases: Sequence[Phase],
    extras: Mapping[str, Any],
    conditions: Mapping[str, Any],
    proved: str,
) -> dict[str, Any]:
    """Give the document."""
    figures = [phase.figures() for phase in phases]
    overload = next(each for each in figures if each["name"] == "overload")
    goodput = overload["posted_per_s"]
    usual, then = capacities["capacity_per_s"] / _bank(capacities["cores"]), goodput / _bank(overload["cores"])
    document: dict[str, Any] = {
        **capacities,
        "offered_times": round(overload["offered_per_s"] / max(1, capacities["capacity_per_s"]), 1),
        "goodput_share_per_processor": _share(then, usual),
        "goodput_share_beside_burden": _share(goodput, capacities["capacity_beside_burden_per_s"]),
        "goodput_share": _share(goodput, capacities["capacity_per_s"]),
        "phases": figures,
        **extras,
        "conditions": conditions,
        "proved": proved,
    }
    return document | {"goals": judge(document)}


def judge(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say of each goal whether it was reached; those whose phase was left out are left out."""
    phases = {phase["name"]: phase for phase in document["phases"]}
    found = [
        _goal("offered in the overload, times the capacity", document["offered_times"], OFFERED_TIMES_MIN),
        _goal(
            "carried out in the overload for each second of the bank's processor time, share of the capacity's",
            document["goodput_share_per_processor"],
            PROCESSOR_SHARE_MIN,
        ),
        _goal(
            "p99 within the gateway of what was carried out in the overload, ms",
            phases["overload"]["inside_p99_ms"],
            most=INSIDE_P99_MS_MAX,
        ),
    ]
    if "look_ups" in document:
        storm, look_ups = phases["look-up storm"], document["look_ups"]
        share = _share(storm["posted_per_s"], storm["wanted_per_s"])
        found += [
            _goal(
                "look-ups offered in the storm, times the balances that callers without a pause are told",
                _share(look_ups["offered_per_s"], look_ups["balances_without_pause_per_s"]),
                LOOK_UPS_OFFERED_TIMES_MIN,
            ),
            _goal(
                "look-ups answered in it, share of what callers without a pause are told",
                _share(look_ups["answered_per_s"], look_ups["without_pause_per_s"]),
                LOOK_UPS_ANSWERED_SHARE_MIN,
            ),
            _goal("carried out beside a storm of look-ups, share of what was offered", share, BESIDE_LOOK_UPS_MIN),
            _goal("p99 within the gateway of transfers beside it, ms", storm["inside_p99_ms"], most=INSIDE_P99_MS_MAX),
            _goal("p99 within the gateway of look-ups in it, ms", look_ups["inside_p99_ms"], most=LOOK_UP_P99_MS_MAX),
        ]
    return found


def _goal(figure: str, value: float | None, least: float | None = None, *, most: float | None = None) -> dict[str, Any]:
    """Judge one figure; one so high that nobody knows it has missed its goal."""
    reached = value is not None and (least is None or value >= least) and (most is None or value <= most)
    return {"figure": figure, "value": value, "least": least, "most": most, "reached": reached}


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print the table."""
    alone, beside = document["capacity_per_s"], document["capacity_beside_burden_per_s"]
    table = Table(title=f"capacity {alone:,} transfers/s, {beside:,} beside what the generator of the overload took")
    table.add_column("phase")
    columns = {
        "offered_per_s": "offered/s",
        "posted_per_s": "posted/s",
        "late_p99_ms": "late p99 ms",
        "inside_p50_ms": "p50 ms inside",
        "inside_p99_ms": "p99 ms inside",
        "p50_ms": "p50 ms seen",
        "p99_ms": "p99 ms seen",
        "refused_p50_ms": "refused p50 ms",
        "refused_p99_ms": "refused p99 ms",
        "unknown": "unknown",
        "dropped": "dropped",
        "back_after_seconds": "steady after s",
    }
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for phase in document["phases"]:
        table.add_row(phase["name"], *("" if phase[each] is None else f"{phase[each]:,}" for each in columns))
    console.print(table)
    for phase in document["phases"]:
        if phase["not_posted"]:
            console.print(f"{phase['name']}: {phase['not_posted']}", markup=False)
    for name, cores in (
        ("capacity", document["cores"]),
        ("capacity beside as much", document["cores_beside_burden"]),
        *((phase["name"], phase["cores"]) for phase in document["phases"]),
    ):
        console.print(f"processors, {name}: {cores}", markup=False)
    console.print(
        f"carried out while overloaded: {document['goodput_share']:.0%} of the capacity, "
        f"{document['goodput_share_beside_burden']:.0%} of the capacity beside as busy a generator; "
        f"{document['goodput_share_per_processor']:.0%} for each second of the bank's processor time"
    )
    console.print(
        "ms inside: within the gateway, by its own histogram, of what was carried out; "
        "seen: from when the generator had sent it, refused: the same"
    )
    if "look_ups" in document:
        console.print(f"look-ups beside a normal load: {document['look_ups']}", markup=False)
    for goal in document["goals"]:
        limit = f"at least {goal['least']:g}" if goal["most"] is None else f"at most {goal['most']:g}"
        verdict = "reached" if goal["reached"] else "MISSED"
        console.print(f"{verdict}: {goal['figure']}: {goal['value']}, {limit}", markup=False)
    console.print(document["proved"], markup=False)


def draw(document: Mapping[str, Any], beside: Path) -> Path:
    """Draw what was offered and what was carried out, second by second; give the picture's path."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    axes = figure.add_subplot()
    start = 0
    for phase in document["phases"]:
        if phase["name"] == "the silent shard":
            continue
        posted = phase["posted_by_second"]
        seconds = range(start, start + len(posted))
        first = not start
        axes.plot(seconds, posted, color="#228833", label="carried out" if first else None)
        offered = [phase["offered_per_s"]] * len(posted)
        axes.plot(seconds, offered, color="#4477aa", linestyle="--", label="offered" if first else None)
        axes.axvline(start, color="#dddddd")
        axes.text(start, 1.0, phase["name"], rotation=30, fontsize=7, transform=axes.get_xaxis_transform())
        start += len(posted)
    for key, label, style in (
        ("capacity_per_s", "capacity", "-"),
        ("capacity_beside_burden_per_s", "capacity beside as busy a generator", ":"),
    ):
        axes.axhline(document[key], color="#aa3377", linestyle=style, linewidth=1, label=label)
    axes.set_yscale("symlog", linthresh=max(document["capacity_per_s"] / 10, 1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("transfers/s")
    axes.legend(loc="lower right", fontsize=7)
    picture = beside.with_suffix(".png")
    figure.savefig(picture, dpi=110)
    return picture


def rounded(cores: Mapping[str, float]) -> dict[str, float]:
    """Round processors for reading."""
    return {part: round(each, 2) for part, each in cores.items()}


def _bank(cores: Mapping[str, float]) -> float:
    """Add up the processors of the bank alone; a little when this machine does not tell."""
    return sum(each for part, each in cores.items() if part not in {GENERATOR, "others"}) or 1.0


def _share(part: float, whole: float) -> float:
    return round(part / whole, 3) if whole else 0.0


def percentile(seconds: Sequence[float], percent: int) -> float | None:
    """Give a percentile in milliseconds; None of nothing."""
    if not seconds:
        return None
    return round(1000 * sorted(seconds)[min(len(seconds) * percent // 100, len(seconds) - 1)], 1)
