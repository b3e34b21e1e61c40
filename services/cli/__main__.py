"""`hivecore`: the command, and the list of its commands.

Never here: what a command does.
"""

import os

import typer

from services.cli.commands import (
    files,
    holds,
    managing,
    money,
    payment_files,
    payroll,
    planning,
    products,
    records,
    running,
    statements,
    tokens,
    trail,
    watching,
)

app = typer.Typer(
    name="hivecore",
    help="A core bank: open one on this machine, or use any through its gateway.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("up")(running.up)
app.command("demo")(running.demo)
app.add_typer(tokens.token, name="token")
app.add_typer(records.customer, name="customer")
app.add_typer(records.account, name="account")
records.account.command("state")(managing.state)
records.account.command("limits")(managing.limits)
app.add_typer(products.product, name="product")
app.add_typer(holds.hold, name="hold")
app.command("transfer", short_help="Move money: one leg or several, all or nothing, once per id.")(money.transfer)
app.command("quote", short_help="Show what a transfer would cost and whether it is refused.")(products.quote)
app.command("reverse")(money.reverse)
app.command("balance")(statements.balance)
app.command("statement", short_help="Show an account's statement, or its entries.")(statements.statement)
app.add_typer(statements.transfers, name="transfers")
app.command("gl", short_help="Show the general ledger: trial balance, income, expense.")(statements.general_ledger)
app.command("import")(files.import_)
app.command("pay")(files.pay)
app.command("payroll", short_help="Pay everybody in a file from one account, all or nobody.")(payroll.payroll)
app.command("payment-file", short_help="Carry out an ISO 20022 payment file and report on it.")(
    payment_files.payment_file
)
app.command("shards")(running.shards)
app.command("top", short_help="Show the bank at a glance, live, until Ctrl-C.")(watching.top)
app.command("audit", short_help="Prove the books of all shards, or that nobody changed them.")(running.audit)
app.command("trail", short_help="List who asked for what, and what came of it.")(trail.trail)
app.command("plan", short_help="Plan the capacity of a bank, from measured costs to money.")(planning.plan)
app.command("migrate", short_help="Bring all databases of a bank to this release.")(running.migrate)


def run() -> None:
    """Carry out the command line: status 0 when done, 1 with a reason on standard error, 2 for wrong usage."""
    # PostgreSQL is started by fork when it runs as another account; gRPC's own handlers crash such a child.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    app()


if __name__ == "__main__":
    run()
