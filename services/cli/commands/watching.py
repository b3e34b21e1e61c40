"""`hivecore top`: what an operator looks at first."""

from typing import Annotated

import typer

from services.cli.commands.options import AsJson, Data, carry_out
from services.cli.finding import Where, read_bank_file
from services.cli.output import Failure, fail, show_json


def top(
    data: Data = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics", metavar="HOST:PORT", help="Address of a process's metrics, instead of --data; may be repeated."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=60, help="Time between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, print it and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the bank at a glance, live, until Ctrl-C: writers, speed, queues, money under way, gaps.

    With --once or --json the status is 1 when something is wrong: a process is silent, a shard has no
    writer or its books do not add up.
    """
    from services.cli import top as view

    try:
        addresses = {address: address for address in metrics} if metrics else read_bank_file(Where(data)).metrics
    except Failure as error:
        fail(str(error))
    if not once and not as_json:
        try:
            carry_out(view.live(addresses, seconds))
        except typer.Exit:
            return
    glance = carry_out(view.once(addresses, seconds))
    if as_json:
        show_json(view.document(glance))
    else:
        view.show(glance)
    if not glance.is_sound:
        raise typer.Exit(1)
