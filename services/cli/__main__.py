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
app.command("transfer")(money.transfer)
app.command("quote")(products.quote)
app.command("reverse")(money.reverse)
app.command("balance")(statements.balance)
app.command("statement")(statements.statement)
app.add_typer(statements.transfers, name="transfers")
app.command("gl")(statements.general_ledger)
app.command("import")(files.import_)
app.command("pay")(files.pay)
app.command("payroll")(payroll.payroll)
app.command("payment-file")(payment_files.payment_file)
app.command("shards")(running.shards)
app.command("top")(watching.top)
app.command("audit")(running.audit)
app.command("trail")(trail.trail)
app.command("plan")(planning.plan)
app.command("migrate")(running.migrate)


def run() -> None:
    """Carry out the command line: status 0 when done, 1 with a reason on standard error, 2 for wrong usage."""
    # PostgreSQL is started by fork when it runs as another account; gRPC's own handlers crash such a child.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    app()


if __name__ == "__main__":
    run()
