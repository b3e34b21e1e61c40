"""`hivecore plan`: from measured costs to what a bank of a given size needs."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from services.cli import capacity
from services.cli.capacity import Assumptions, Demand, NotUsable
from services.cli.commands.options import AsJson
from services.cli.output import fail, show_json, show_line, show_table

HERE: Final = Path(__file__).parents[1]
REFERENCE: Final = HERE / "reference_bench.json"
PRICES: Final = HERE / "prices.toml"

WEBANK: Final = Demand(
    customers=400_000_000, transfers_per_day=1_300_000_000, peak_factor=2.9, crossing_share=0.99, batch_share=0.0
)
WEBANK_NOTES: Final = """\
WeBank's published day: over 400 million customers and a peak of over 1.3 billion transactions a day (2024).
Assumed for it: a peak factor of 2.9 (that of another bank's published capacity), and that 99% of transfers
leave their shard, as they do between random customers of 80 shards; all of them sent one by one.
Published for comparison: its units take 5 to 8 million customers each; its cost of IT per account is below
a tenth of its peers'. No absolute cost per account has been published, so none is compared. A plan counts
machines and storage of the transaction engine only; that figure counts all of a bank's IT."""

_Assumed = Annotated[
    list[str] | None,
    typer.Option("--assume", metavar="NAME=VALUE", help="Replaces an assumption; may be repeated."),
]
_Bench = Annotated[
    Path | None, typer.Option("--bench", help="JSON file of `make bench`; a reference run when not given.")
]


def plan(
    bench: _Bench = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="Price file (TOML); round figures if not given.")
    ] = None,
    example: Annotated[
        str, typer.Option("--example", metavar="NAME", help="`webank`: that bank's published day.")
    ] = "",
    customers: Annotated[int | None, typer.Option("--customers", help="How many.")] = None,
    transfers_per_day: Annotated[
        float | None, typer.Option("--transfers-per-day", help="On the day to plan for.")
    ] = None,
    peak_factor: Annotated[float | None, typer.Option("--peak-factor", help="Busiest moment over the average.")] = None,
    crossing_share: Annotated[
        float | None, typer.Option("--crossing-share", help="Of transfers, between shards: 0 to 1.")
    ] = None,
    batch_share: Annotated[
        float | None, typer.Option("--batch-share", help="Of transfers, sent about 1,000 per call: 0 to 1.")
    ] = None,
    accounts_per_customer: Annotated[
        float | None, typer.Option("--accounts-per-customer", help="How many accounts a customer has.")
    ] = None,
    assume: _Assumed = None,
    as_json: AsJson = False,
) -> None:
    """Plan the capacity of a bank: shards, cores, memory, storage and money.

    Says of every figure whether it was measured, given, assumed or computed.
    """
    given = {
        "customers": customers,
        "transfers_per_day": transfers_per_day,
        "peak_factor": peak_factor,
        "crossing_share": crossing_share,
        "batch_share": batch_share,
        "accounts_per_customer": accounts_per_customer,
    }
    try:
        measured = capacity.measurement_of(_read_json(bench or REFERENCE))
        price_list = capacity.prices_of(_read_toml(prices or PRICES))
        demand = _demand(example, {name: value for name, value in given.items() if value is not None})
        made = capacity.plan(measured, demand, price_list, _assumptions(assume or []))
    except NotUsable as error:
        fail(str(error))
    notes = WEBANK_NOTES.splitlines() if example else []
    if as_json:
        show_json({"measured_by": measured.source, **dataclasses.asdict(made), "notes": notes})
        return
    lines = [(each.name, _text(each.value), each.unit, each.basis, each.note) for each in made.figures]
    show_table("", ("", "figure", "unit", "basis", ""), lines)
    show_line(f"measured by: {measured.source}")
    for note in notes:
        show_line(note)
    show_line(
        f"{made.shards:,} shards, {made.gateways:,} gateways, {made.cores:,.0f} cores, {made.memory_gib:,.0f} GiB of memory, "
        f"{made.storage_gib:,.0f} GiB of storage: {made.cost_per_year:,.0f} {made.currency_code} a year, "
        f"{made.cost_per_account_year:.4f} per account"
    )


def _demand(example: str, given: dict[str, Any]) -> Demand:
    if example not in {"", "webank"}:
        raise NotUsable(f"there is no example {example!r}: webank is the one")
    if example:
        return dataclasses.replace(WEBANK, **given)
    if "customers" not in given or "transfers_per_day" not in given:
        raise NotUsable("say --customers and --transfers-per-day, or --example webank")
    return Demand(**given)


def _assumptions(texts: list[str]) -> Assumptions:
    """Read NAME=VALUE as often as it was given."""
    kinds = {name: type(value) for name, value in dataclasses.asdict(Assumptions()).items()}
    changed: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in kinds:
            raise NotUsable(f"--assume takes NAME=VALUE, with one of {', '.join(kinds)}")
        try:
            changed[name] = kinds[name](value)
        except ValueError as error:
            raise NotUsable(f"--assume {name}: {value!r} is not a number of its kind") from error
    return Assumptions(**changed)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotUsable(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise NotUsable(f"{file} is not the JSON file of a bench run")
    return content


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotUsable(f"{file} cannot be read: {error}") from error


def _text(value: float) -> str:
    """Write a figure with about four digits that tell something."""
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if value >= 1 else f"{value:.4f}".rstrip("0")
