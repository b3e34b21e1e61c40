"""`hivecore demo`: a bank opened for the occasion, walked through, audited and closed.

Never here: what is tried (`demonstration.py`).
"""

import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from services.chassis import logs
from services.chassis.children import LaunchError
from services.chassis.directory_cache import DirectoryCache
from services.cli import episodes, filing_episode, history_episode, product_episode
from services.cli.auditing import audit_bank, audit_chains
from services.cli.bank import Bank
from services.cli.demonstration import Step, Walk, open_accounts, statement, transfers
from services.cli.output import Failure, show_json, show_line, show_table
from services.cli.session import Access, Session
from services.cli.topology import BankOptions
from services.cli.views import entry_view


async def run_demo(data: Path | None, environment: Mapping[str, str], *, as_json: bool) -> bool:
    """Run the demonstration and tell whether all went as expected. Raises `Failure` when no bank can be opened."""
    # Whatever the chassis logs belongs on standard error, not among the results.
    logs.configure("WARNING", "cli", "demo")
    began = time.monotonic()
    say = _silent if as_json else show_line
    async with AsyncExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hivecore-demo-")))
        say(f"Opening a bank in {data} ...")
        options = BankOptions(data=data, port=0, environment=environment)
        try:
            bank = await stack.enter_async_context(Bank.open(options, say=say))
        except LaunchError as error:
            raise Failure(str(error)) from error
        opened_seconds = time.monotonic() - began
        say(f"The bank is open after {opened_seconds:.1f} seconds: {bank.shape.shards} shards behind {bank.gateway}")
        done = await _walk(bank, stack, as_json=as_json)
    seconds = time.monotonic() - began
    all_as_expected = all(step.is_as_expected for step in done.steps)
    if as_json:
        show_json(
            {
                "is_as_expected": all_as_expected,
                "opened_seconds": round(opened_seconds, 3),
                "seconds": round(seconds, 3),
                "steps": [_step_view(step) for step in done.steps],
            }
        )
    else:
        wrong = sum(not step.is_as_expected for step in done.steps)
        verdict = "all as expected" if not wrong else f"{wrong} NOT as expected"
        say(f"{len(done.steps)} steps, {verdict}, {seconds:.1f} seconds in all")
    return all_as_expected


async def _walk(bank: Bank, stack: AsyncExitStack, *, as_json: bool) -> Walk:
    """Walk through the open bank, telling of each step and showing what there is to see at the end."""
    directory = DirectoryCache(bank.topology.account)
    stack.push_async_callback(directory.close)
    current = await directory.refresh()
    session = await stack.enter_async_context(Session(Access(bank.gateway, bank.token())))

    async def audit() -> str:
        report = await audit_bank(bank.control_dsn, bank.shard_dsns, None)
        broken = [f"invariant {result.number}: {result.title}" for result in report.results if not result.holds]
        return "; ".join(broken) or "clean"

    async def as_sealed() -> str:
        report = await audit_chains(bank.shard_dsns, frozenset())
        broken = [violation for shard in report.shards for violation in shard.proof.violations]
        return "; ".join(broken) or "as sealed"

    done = Walk(session, lambda number: current.shard_of_account(int(number)), _silent if as_json else _tell)
    if await open_accounts(done):
        await transfers(done)
        for episode in (
            episodes.holds,
            episodes.limits,
            episodes.freeze,
            episodes.reversals,
            episodes.several_shards,
            filing_episode.payment_file,
            history_episode.history,
            product_episode.products,
        ):
            await episode(done, *done.pair())
        await statement(done, done.accounts[0])
        await done.step("audit the books", "clean", audit())
        await done.step("prove that nothing sealed was changed since", "as sealed", as_sealed())
    if done.accounts and not as_json:
        balances = await done.balances()
        rows = [
            (number, done.shard_of(number), done.text(balance))
            for number, balance in zip(done.accounts, balances, strict=True)
        ]
        show_table("balances", ("account", "shard", "balance"), rows)
        views = [entry_view(entry) for entry in done.entries]
        columns = ("version", "kind", "amount", "balance_after", "held_after", "counterparty_account", "reference")
        titles = ("version", "what", "amount", "balance after", "held after", "other side", "reference")
        title = f"statement of {done.accounts[0]}"
        show_table(title, titles, [[view[column] for column in columns] for view in views])
    return done


def _tell(step: Step) -> None:
    """Print one step as it ends."""
    mark = "ok " if step.is_as_expected else "NOT"
    wanted = "" if step.is_as_expected else f"; expected {step.expected}"
    show_line(f"{mark} {step.title}: {step.found}{wanted}  ({step.seconds * 1000:.0f} ms)")


def _step_view(step: Step) -> dict[str, object]:
    return {
        "title": step.title,
        "expected": step.expected,
        "found": step.found,
        "is_as_expected": step.is_as_expected,
        "seconds": round(step.seconds, 4),
    }


def _silent(_: object) -> None:
    """Say nothing."""
