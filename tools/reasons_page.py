"""docs/reasons.md: every reason that the public API can give, written from the code that gives it.

    python -m tools.reasons_page        writes the page; a test holds it fresh and complete

Refusals are an enum with their meaning below each; errors are found where they are raised, with the
sentence that goes with them. Never here: what a reason means (it stands in the code).
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from hivecore.gateway.v1 import bank_pb2

from services.account.opening import MESSAGES
from services.account.opening import Refusal as OpeningRefusal
from services.chassis.status import CODE_BY_ERROR
from services.cli.iso20022.reasons import CODE_BY_REASON
from services.domain import errors
from services.domain.outcomes import NOT_THERE, Refusal

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "reasons.md"
ROOMS: Final = ("domain", "chassis", "gateway", "ledger", "account")
"""Whose errors reach callers; the command line shows them and adds reasons for files of its own."""

REASON: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
KINDS: Final = {kind.__name__: kind for kind in CODE_BY_ERROR}

NOT_REASONS: Final = re.compile(r"HIVECORE_.*|SC_.*")
"""Constants that look like reasons and are none: names of settings and options."""

MEANINGS: Final[dict[str, str]] = {
    "INTERNAL": "a bug of this bank's: the log of the service that failed has it",
    "ACCOUNT_NUMBER_INVALID": "not 16 digits, or the check digits are wrong",
    "CUSTOMER_NUMBER_INVALID": "not 14 digits, or the check digits are wrong",
}
"""Where the code gives its sentence elsewhere than with the reason."""

CALLS: Final[dict[str, str]] = {
    "ACCOUNT_NOT_FOUND": "calls that name an account",
    "BANK_FULL": "OpenCustomer, OpenCustomers",
    "CURRENCY_NOT_KEPT": "OpenAccount, OpenAccounts",
    "CUSTOMER_NOT_FOUND": "GetCustomer, ListAccounts, OpenAccount, OpenAccounts",
    "EXTERNAL_REFERENCE_TAKEN": "OpenCustomer, OpenCustomers, OpenAccount, OpenAccounts",
    "HOLD_ID_REUSED": "PlaceHold",
    "HOLD_NOT_FOUND": "GetHold, IncreaseHold, CaptureHold, ReleaseHold",
    "INTERNAL": "every call",
    "MESSAGE_ID_REUSED": "RegisterPaymentFile",
    "OUTCOME_UNKNOWN": "every call that writes",
    "PARTNER_BANK_NOT_FOUND": "PostTransfer, PostTransfers, CaptureHold",
    "QUEUE_FULL": "calls that reach a ledger",
    "QUOTA_SPENT": "every call that writes",
    "RATE_LIMITED": "every call",
    "REQUEST_ID_REUSED": "OpenCustomer, OpenCustomers, OpenAccount, OpenAccounts, IncreaseHold, ReleaseHold, changes of accounts",
    "SHARD_MISSING": "none: a service does not start",
    "TOO_MANY_PARTNER_BANKS": "RegisterPartnerBanks",
    "TRANSFER_ID_REUSED": "PostTransfer, PostTransfers, CaptureHold, ReverseTransfer",
    "TRANSFER_NOT_FOUND": "GetTransfer",
    "WRONG_SHARD": "none: between the services only",
    "TRANSFER_UNDECIDED": "PostTransfer, PostTransfers, ReverseTransfer",
    "ORIGINAL_IN_TRANSIT": "ReverseTransfer",
    "DECISIONS_TOO_MANY": "between ledgers",
    "PROMISED_OTHERWISE": "between ledgers",
    "PROMISES_FULL": "between ledgers",
}
"""Where neither the kind nor a field of the request tells."""

MOVES: Final = ("PostTransfer", "PostTransfers", "CaptureHold", "ReverseTransfer")
HOLDS: Final = ("PlaceHold", "IncreaseHold", "CaptureHold", "ReleaseHold")
CHANGES: Final = ("ChangeAccountState", "ChangeAccountLimits")


@dataclass(slots=True)
class Reason:
    """One reason: the kinds of error it is given as, what is said with it, which request fields it is about."""

    name: str
    kinds: set[str] = field(default_factory=set)
    sentences: list[str] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)


def reasons() -> dict[str, Reason]:
    """Find every reason that an error is raised with, by name."""
    found: dict[str, Reason] = {}
    for room in ROOMS:
        for file in sorted((ROOT / "services" / room).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for call in _calls(tree):
                _take(call, found)
            _take_pairs(tree, found)
    for refusal in OpeningRefusal:
        kind = "NotFound" if refusal.endswith("_NOT_FOUND") else "Refused"
        reason = found.setdefault(refusal, Reason(refusal))
        reason.kinds.add("Conflict" if refusal.endswith(("_REUSED", "_TAKEN")) else kind)
        reason.sentences.append(MESSAGES[refusal])
    found.setdefault("INTERNAL", Reason("INTERNAL"))
    return {name: found[name] for name in sorted(found) if name not in Refusal.__members__ or found[name].kinds}


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _take(call: ast.Call, found: dict[str, Reason]) -> None:
    """Take a call's reason, if it has one."""
    callee = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    for place, argument in enumerate(call.args):
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            continue
        name = argument.value
        is_named = callee in KINDS and place == 0
        if not is_named and (REASON.fullmatch(name) is None or NOT_REASONS.fullmatch(name)):
            continue
        if callee in {"labels", "get", "Gauge", "Counter", "Histogram", "getattr"} or (place and callee in KINDS):
            continue
        reason = found.setdefault(name, Reason(name))
        reason.kinds.add(callee if callee in KINDS else "Malformed")
        rest = [_text(each) for each in call.args[place + 1 :]]
        is_malformed = callee not in KINDS or callee == "Malformed"
        if is_malformed and rest:
            reason.fields.add(rest[0].rpartition(".")[2].partition("[")[0])
            rest = rest[1:]
        if rest and rest[0] not in reason.sentences and " " in rest[0]:
            reason.sentences.append(rest[0])


def _take_pairs(tree: ast.AST, found: dict[str, Reason]) -> None:
    """Take what is a refusal as a value first: a reason and its sentence, raised elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            name, sentence = map(_text, node.elts)
            if REASON.fullmatch(name) and " " in sentence and not NOT_REASONS.fullmatch(name):
                reason = found.setdefault(name, Reason(name))
                reason.kinds.add("Refused")
                reason.sentences.append(sentence)


def _text(node: ast.expr) -> str:
    """Write a literal as text, with an ellipsis for what only a call knows."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def refusal_meanings() -> dict[str, str]:
    """Read the sentence under each refusal in the enum's own source."""
    source = (ROOT / "services" / "domain" / "outcomes.py").read_text(encoding="utf-8")
    meanings: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "Refusal":
            for before, after in zip(node.body, node.body[1:], strict=False):
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(before, ast.Assign) and isinstance(before.targets[0], ast.Name) and is_text:
                    meanings[before.targets[0].id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return meanings


def methods() -> dict[str, MethodDescriptor]:
    """List the calls of the public API."""
    return {method.name: method for method in bank_pb2.DESCRIPTOR.services_by_name["Bank"].methods}


def _has_field(message: Descriptor, name: str, seen: frozenset[str] = frozenset()) -> bool:
    if message.full_name in seen or not message.full_name.startswith("hivecore."):
        return False
    inner = (each.message_type for each in message.fields if each.message_type is not None)
    below = seen | {message.full_name}
    return name in message.fields_by_name or any(_has_field(each, name, below) for each in inner)


def calls_of(reason: Reason) -> str:
    """Tell which calls a reason comes from: those whose request has the field, or every call."""
    if reason.name in CALLS:
        return CALLS[reason.name]
    if reason.kinds == {"Malformed"}:
        names = [
            name
            for name, method in methods().items()
            if any(_has_field(method.input_type, each) for each in reason.fields if each)
        ]
        return "calls with that field" if not names or len(names) > 12 else ", ".join(names)
    is_anywhere = reason.kinds & {"Unauthenticated", "Forbidden", "Unavailable", "DeadlinePassed"}
    return "every call" if is_anywhere else "as the calls' own comments say"


def _calls_of_refusal(refusal: Refusal) -> str:
    if refusal.name.startswith(("HOLD_", "CAPTURE_")):
        return ", ".join(HOLDS)
    if refusal.name.startswith(("ORIGINAL_", "REVERSAL_")):
        return "ReverseTransfer"
    if refusal in {Refusal.STATE_MAY_NOT_FOLLOW, Refusal.ACCOUNT_NOT_EMPTY}:
        return ", ".join(CHANGES)
    if refusal == Refusal.TRANSFER_ID_TAKEN:
        return "none: the reason of a transfer that is RETURNED"
    return ", ".join(dict.fromkeys((*MOVES, *HOLDS))) if refusal < Refusal.CREDIT_BALANCE_LIMIT else ", ".join(MOVES)


def _status(kinds: set[str]) -> str:
    return " / ".join(sorted({CODE_BY_ERROR[KINDS[kind]].name for kind in kinds})) or "INTERNAL"


def _what_to_do() -> list[str]:
    rows = ["| status | what it means for the caller |", "| --- | --- |"]
    for kind, code in CODE_BY_ERROR.items():
        sentence = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| {code.name} ({kind.__name__}) | {sentence} |")
    return rows


def page() -> str:
    """Write the page."""
    meanings = refusal_meanings()
    lines = [
        "# Reasons",
        "",
        "Written from the code by `make pages`; do not edit. Every error of the public API is a `google.rpc.Status` with an",
        "`ErrorInfo` whose `domain` is `hivecore` and whose `reason` stands here. The status says what to do, the reason why.",
        "",
        *_what_to_do(),
        "",
        "## Refusals, in order of precedence",
        "",
        "What the books say no to, for ever under that id: FAILED_PRECONDITION, or NOT_FOUND where there is no such thing.",
        "When several apply the first in this order is given; for a transfer of several legs, the first leg that fails, then",
        "this order. Mend the cause and mint a new id. The number is what travels between the services; the ISO code is what",
        "a payment file's report says (`docs/payment-files.md`).",
        "",
        "| | reason | status | meaning | calls | ISO 20022 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for refusal in Refusal:
        code = "NOT_FOUND" if refusal in NOT_THERE else "FAILED_PRECONDITION"
        meaning = meanings.get(refusal.name) or refusal.name.lower().replace("_", " ").capitalize() + "."
        lines.append(
            f"| {refusal.value} | `{refusal.name}` | {code} | {_cell(meaning)} | {_calls_of_refusal(refusal)} |"
            f" {CODE_BY_REASON[refusal.name]} |"
        )
    lines += [
        "",
        "## Errors",
        "",
        "What keeps a call, or one item of a call, from its answer. `…` stands for what only the call knows.",
        "",
        "| reason | status | meaning | calls |",
        "| --- | --- | --- | --- |",
    ]
    for name, reason in reasons().items():
        meaning = MEANINGS.get(name) or "; ".join(dict.fromkeys(reason.sentences)) or name.lower().replace("_", " ")
        lines.append(f"| `{name}` | {_status(reason.kinds)} | {_cell(meaning)} | {calls_of(reason)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    assert errors.BankError.__doc__
    PAGE.write_text(page(), encoding="utf-8")
