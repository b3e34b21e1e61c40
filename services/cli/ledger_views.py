"""The general ledger as plain values and as tables. Never here: asking for it."""

from hivecore.gateway.v1 import bank_pb2

from services.cli.amounts import format_amount
from services.cli.output import show_line, show_table
from services.cli.views import View, day_text

_KIND = bank_pb2.GeneralLedger.Kind.Name


def general_ledger_view(found: bank_pb2.GeneralLedger) -> View:
    """Show the general ledger as plain values."""
    return {
        "first_date": day_text(found.first_date),
        "last_date": day_text(found.last_date),
        "is_final": found.is_final,
        "lines": [_line_view(line) for line in found.lines],
        "in_flight": [
            {
                "shard_id": flight.shard_id,
                "peer_shard_id": flight.peer_shard_id,
                "currency_code": flight.currency_code,
                "amount": format_amount(flight.amount_minor, flight.currency_code),
                "amount_minor": flight.amount_minor,
            }
            for flight in found.in_flight
        ],
        "shards": [
            {
                "shard_id": books.shard_id,
                "cut_sequence": books.cut_sequence,
                "lines": [_line_view(line) for line in books.lines],
            }
            for books in found.shards
        ],
        "results": [
            {
                "code": result.code,
                "title": result.title,
                "kind": _KIND(result.kind),
                "currency_code": result.currency_code,
                "amount": format_amount(result.amount_minor, result.currency_code),
                "amount_minor": result.amount_minor,
            }
            for result in found.results
        ],
        "profits": [
            {
                "currency_code": profit.currency_code,
                "amount": format_amount(profit.amount_minor, profit.currency_code),
                "amount_minor": profit.amount_minor,
            }
            for profit in found.profits
        ],
    }


def _line_view(line: bank_pb2.GeneralLedger.Line) -> View:
    code = line.currency_code
    return {
        "code": line.code,
        "title": line.title,
        "kind": _KIND(line.kind),
        "currency_code": code,
        "account_count": line.account_count,
        "debit": format_amount(line.debit_minor, code),
        "credit": format_amount(line.credit_minor, code),
        "debit_minor": line.debit_minor,
        "credit_minor": line.credit_minor,
    }


def show_general_ledger(found: bank_pb2.GeneralLedger, *, by_shard: bool) -> None:
    """Print the trial balance with its totals, then income and expense."""
    until = day_text(found.last_date)
    when = f"at the end of {until}{'' if found.is_final else ' so far'}" if until else "now"
    _show_lines(f"trial balance {when}", list(found.lines), list(found.in_flight))
    for books in found.shards if by_shard else ():
        _show_lines(f"shard {books.shard_id}, journal up to {books.cut_sequence}", list(books.lines), [])
    rows: list[tuple[object, ...]] = [
        (
            result.code,
            result.title,
            _KIND(result.kind).lower(),
            _text(result.amount_minor, result.currency_code),
            result.currency_code,
        )
        for result in found.results
    ]
    rows += [
        ("", "Profit", "", _text(profit.amount_minor, profit.currency_code), profit.currency_code)
        for profit in found.profits
    ]
    since = f"from {day_text(found.first_date)}" if day_text(found.first_date) else "from the beginning"
    if rows:
        show_table(f"income and expense {since}", ("code", "account", "kind", "amount", "currency"), rows)
    else:
        show_line(f"no income or expense {since}")


def _show_lines(
    title: str, lines: list[bank_pb2.GeneralLedger.Line], in_flight: list[bank_pb2.GeneralLedger.InFlight]
) -> None:
    sums: dict[str, list[int]] = {}
    rows: list[tuple[object, ...]] = []
    for line in lines:
        code = line.currency_code
        sides = sums.setdefault(code, [0, 0])
        sides[0] += line.debit_minor
        sides[1] += line.credit_minor
        amounts = _text(line.debit_minor, code), _text(line.credit_minor, code)
        rows.append(
            (
                f"{line.code:04d}" if line.code else "",
                line.title,
                _KIND(line.kind).lower(),
                line.account_count,
                *amounts,
                code,
            )
        )
    for flight in in_flight:
        code = flight.currency_code
        amounts_minor = max(-flight.amount_minor, 0), max(flight.amount_minor, 0)
        sides = sums.setdefault(code, [0, 0])
        sides[0] += amounts_minor[0]
        sides[1] += amounts_minor[1]
        title_ = f"In flight between shards {flight.shard_id} and {flight.peer_shard_id}"
        rows.append(("", title_, "clearing", "", *(_text(amount, code) for amount in amounts_minor), code))
    rows += [
        ("", "Total", "", "", *(_text(amount, code) for amount in sides), code) for code, sides in sorted(sums.items())
    ]
    show_table(title, ("code", "account", "kind", "accounts", "debit", "credit", "currency"), rows)


def _text(amount_minor: int, currency_code: str) -> str:
    return format_amount(amount_minor, currency_code)
