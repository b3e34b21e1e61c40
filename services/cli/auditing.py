"""The audit's report, asked for and shown.

Never here: what is checked (`services/ledger/audit.py`).
"""

from collections.abc import Mapping

from services.chassis import postgres
from services.cli.amounts import format_amount
from services.cli.output import Failure, show_line, show_table
from services.cli.views import View
from services.domain.currencies import CODE_BY_NUMBER
from services.ledger.audit import audit
from services.ledger.audit_chain import ChainReport, prove_chains
from services.ledger.audit_report import Report


async def audit_bank(
    control_dsn: str | None, shard_dsns: Mapping[int, str], in_flight_seconds_max: float | None
) -> Report:
    """Audit the books. Raises `Failure` when a database cannot be asked."""
    try:
        return await audit(control_dsn, shard_dsns, in_flight_seconds_max=in_flight_seconds_max)
    except postgres.ERRORS as error:
        raise Failure(f"the books cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error


def report_view(report: Report) -> View:
    """Show a report as plain values."""
    totals = report.totals
    return {
        "is_clean": report.clean,
        "seconds": round(report.seconds, 3),
        "invariants": [
            {
                "number": result.number,
                "title": result.title,
                "verdict": result.verdict,
                "checked": result.checked,
                "evidence": list(result.evidence),
            }
            for result in report.results
        ],
        "transfers": totals.transfers,
        "entries": totals.entries,
        "accounts": totals.accounts,
        "crossings": totals.crossings,
        "returns": totals.returns,
        "balances_minor": _by_code(totals.balances_minor),
        "customers_minor": _by_code(totals.customers_minor),
        "in_flight": [
            {
                "payer_shard": flight.payer_shard,
                "payee_shard": flight.payee_shard,
                "currency_code": CODE_BY_NUMBER.get(flight.currency, str(flight.currency)),
                "crossing_count": flight.crossing_count,
                "amount_minor": flight.amount_minor,
                "age_seconds": flight.age_seconds,
            }
            for flight in totals.in_flight
        ],
    }


def show_report(report: Report) -> None:
    """Print the invariants with their verdicts, the evidence against those that are broken, and the totals."""
    rows = [(result.number, result.title, result.checked, result.verdict) for result in report.results]
    show_table("", ("", "invariant", "checked", "verdict"), rows)
    for result in report.results:
        for line in result.evidence:
            show_line(f"invariant {result.number}: {line}")
    totals = report.totals
    show_line(
        f"{totals.transfers} transfers, {totals.entries} entries, {totals.accounts} accounts, "
        f"{totals.crossings} crossings, {totals.returns} returns, in {report.seconds:.2f} seconds"
    )
    for code, amount_minor in _by_code(totals.customers_minor).items():
        show_line(f"customers' money: {format_amount(amount_minor, code)} {code}")
    show_line("the books are sound" if report.clean else "the books are NOT sound")


async def audit_chains(shard_dsns: Mapping[int, str], expected: frozenset[bytes]) -> ChainReport:
    """Prove the chains of seals. Raises `Failure` when a database cannot be asked."""
    try:
        return await prove_chains(shard_dsns, expected)
    except postgres.ERRORS as error:
        raise Failure(f"the books cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error


def chain_view(report: ChainReport) -> View:
    """Show what was proven of the chains as plain values."""
    return {
        "is_clean": report.clean,
        "seconds": round(report.seconds, 3),
        "shards": [
            {
                "shard_id": shard.shard_id,
                "head_hash": shard.proof.head_hash.hex(),
                "sealed_through": shard.proof.sealed_through,
                "unsealed_count": shard.unsealed_count,
                "block_count": shard.proof.block_count,
                "row_count": shard.proof.row_count,
                "violations": list(shard.proof.violations),
            }
            for shard in report.shards
        ],
        "missing_hashes": sorted(each.hex() for each in report.missing),
    }


def show_chains(report: ChainReport) -> None:
    """Print each shard's chain, what speaks against it, and what is not sealed yet."""
    titles = ("shard", "blocks", "rows", "sealed through", "not yet sealed", "last hash")
    rows = [
        (
            shard.shard_id,
            shard.proof.block_count,
            shard.proof.row_count,
            shard.proof.sealed_through,
            shard.unsealed_count,
            shard.proof.head_hash.hex(),
        )
        for shard in report.shards
    ]
    show_table("", titles, rows)
    for shard in report.shards:
        for violation in shard.proof.violations:
            show_line(f"shard {shard.shard_id}, {violation}")
    for each in sorted(report.missing):
        show_line(f"no chain has the hash {each.hex()}: a chain was written anew, or this is another bank")
    verdict = "the journal is as it was sealed" if report.clean else "the journal is NOT as it was sealed"
    show_line(f"{verdict}, in {report.seconds:.2f} seconds")


def _by_code(amounts_minor: Mapping[int, int]) -> dict[str, int]:
    return {CODE_BY_NUMBER[number]: amount_minor for number, amount_minor in sorted(amounts_minor.items())}
