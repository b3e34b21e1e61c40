"""Mutates the pure rooms, one small change at a time, and says which changes no test notices.

A mutant is never written to disk: pytest collects the room's own tests once, and for each mutant a forked child gives
the room's functions their changed code and runs the tests, the quickest first, until the first failure, so that most
mutants cost a fraction of a second. Constants of the room that other rooms took over by name keep their value there, and
so do defaults of fields and of parameters. What survives and is written down in
`equivalent_mutants.toml` with its reason is expected. Never here: what a survivor means (`docs/reliability.md`).
"""

import argparse
import ast
import copy
import importlib
import io
import json
import os
import re
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType, FunctionType, ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SECONDS_PER_MUTANT_MIN = 20
TIMES_AS_LONG_MAX = 5
"""A mutant that takes so many times as long as the room as it is runs for ever, which is noticed, too."""
NOT_TRIED = 77
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")

TESTS: dict[str, tuple[str, ...]] = {
    "services.ledger.rules": ("unit/test_posting.py", "unit/test_spending.py", "unit/test_changes.py", "unit/test_holds.py",
                              "unit/test_posting_crossings.py", "unit/test_promises.py"),
    "services.ledger.spending": ("unit/test_spending.py", "unit/test_counting.py", "unit/test_changed_limits.py",
                                 "unit/test_holds_over_time.py", "unit/test_draft.py"),
    "services.ledger.specials": ("unit/test_reversals.py", "unit/test_holds.py", "unit/test_reversals_between_shards.py",
                                 "unit/test_spending.py", "unit/test_fee_legs.py", "unit/test_journal_rows.py"),
    "services.ledger.holds": ("unit/test_holds.py", "unit/test_holds_over_time.py", "unit/test_spending.py",
                              "unit/test_permanent_outcomes.py", "unit/test_journal_rows.py"),
    "services.ledger.changes": ("unit/test_changes.py", "unit/test_changed_limits.py", "unit/test_counting.py",
                                "unit/test_spending.py", "unit/test_fee_legs.py"),
    "services.ledger.draft": ("unit/test_draft.py", "unit/test_posting.py", "unit/test_posting_crossings.py", "unit/test_holds.py",
                              "unit/test_reversals.py", "unit/test_changes.py", "unit/test_spending.py",
                              "unit/test_counting.py", "unit/test_moved_money.py", "unit/test_journal_rows.py",
                              "unit/test_promises.py", "unit/test_spanning.py"),
    "services.ledger.value_dates": ("unit/test_value_dates.py",),
    "services.ledger.pacing": ("unit/test_pacing.py",),
    "services.domain.products": ("unit/test_product_bounds.py", "unit/test_catalogue_files.py"),
    "services.ledger.remembered": ("unit/test_remembered.py", "unit/test_spanning.py"),
    "services.ledger.posting": ("unit/test_posting.py", "unit/test_posting_crossings.py", "unit/test_permanent_outcomes.py",
                                "unit/test_reversals.py", "unit/test_holds.py", "unit/test_spending.py",
                                "unit/test_reversals_between_shards.py", "unit/test_metadata.py", "unit/test_value_dates.py",
                                "unit/test_fee_legs.py", "unit/test_counting.py", "unit/test_journal_rows.py"),
    "services.ledger.promises": ("unit/test_promises.py", "unit/test_spanning.py"),
    "services.ledger.spanning": ("unit/test_spanning.py", "unit/test_promises.py"),
    "services.gateway.routing": ("unit/test_routing.py",),
    "services.gateway.validation": ("unit/test_validation.py", "unit/test_reading_one_by_one.py", "unit/test_fields.py",
                                    "unit/test_metadata.py"),
    "services.gateway.columns": ("unit/test_columns.py", "unit/test_routing.py", "unit/test_metadata.py"),
    "services.gateway.faults": ("unit/test_validation.py", "unit/test_reading_one_by_one.py", "unit/test_commands.py"),
    "services.gateway.plain": ("unit/test_plain.py",),
    "services.gateway.commands": ("unit/test_commands.py",),
    "services.ledger.wire": ("unit/test_wire.py", "unit/test_wire_rarities.py", "unit/test_metadata.py", "unit/test_fee_legs.py"),
    "services.ledger.wire_commands": ("unit/test_wire_commands.py",),
    "services.ledger.wire_traffic": ("unit/test_wire_traffic.py",),
    "services.gateway.wire": ("unit/test_public_messages.py", "unit/test_transfers.py"),
    "services.gateway.wire_records": ("unit/test_shown_transfers.py",),
    "services.gateway.ownership": ("unit/test_ownership.py",),
    "services.domain.directory": ("unit/test_directory.py",),
    "services.gateway.fields": ("unit/test_fields.py",),
    "services.ledger.fees": ("unit/test_fee_legs.py",),
    "services.gateway.pricing": ("unit/test_fees.py", "unit/test_reversing.py"),
    "services.ledger.coordination": ("model/test_two_phase.py",),
    "services.domain.limits": ("unit/test_limits.py", "unit/test_validation.py", "unit/test_commands.py"),
    "services.domain.identifiers": ("unit/test_identifiers.py", "unit/test_chart.py", "unit/test_limits.py"),
    "services.domain.chart": ("unit/test_chart.py",),
    "services.domain.fees": ("unit/test_fees.py",),
    "services.domain.metadata": ("unit/test_metadata.py",),
}  # fmt: skip
"""Pure rooms, and the tests that speak for each."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Mod: ast.Mult,
}  # fmt: skip
_NAMED = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)
"""Conditions with no operator of their own to change."""


@dataclass(frozen=True)
class Mutant:
    """One change: the node's place in the order of the walk, and which of its changes."""

    line: int
    what: str
    index: int
    variant: int


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what a node can be turned into, with words for it."""
    twin = copy.deepcopy(node)
    match twin:
        case ast.Compare(ops=[operator, *_]) if type(operator) in _COMPARISONS:
            twin.ops[0] = _COMPARISONS[type(operator)]()
            yield f"{type(operator).__name__} -> {type(twin.ops[0]).__name__}", twin
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in _OPERATIONS:
            twin.op = _OPERATIONS[type(operator)]()
            yield f"{type(operator).__name__} -> {type(twin.op).__name__}", twin
        case ast.BoolOp():
            twin.op = ast.Or() if isinstance(twin.op, ast.And) else ast.And()
            yield f"{'or' if isinstance(twin.op, ast.Or) else 'and'} instead", twin
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "the sign or the not is gone", twin.operand
        case ast.Constant(value=bool()):
            yield f"{not twin.value} instead", ast.copy_location(ast.Constant(not twin.value), node)
        case ast.Constant(value=int() as number):
            yield f"{number + 1} instead", ast.copy_location(ast.Constant(number + 1), node)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if isinstance(test, _NAMED):
            for outcome in (True, False):
                decided = copy.copy(twin)
                decided.test = ast.copy_location(ast.Constant(outcome), test)
                yield f"as if {ast.unparse(test)} were {outcome}", decided
        case ast.Expr(value=ast.Call()) | ast.Continue() | ast.Break() | ast.Delete():
            yield "the statement is gone", ast.copy_location(ast.Pass(), node)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "the assignment is gone", ast.copy_location(ast.Expr(twin.value), node)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "None is returned", ast.copy_location(ast.Return(ast.Constant(None)), node)


class _Changer(ast.NodeTransformer):
    """Applies one mutant, leaving annotations and what checks our own code alone: assertions and `strict`."""

    def __init__(self, wanted: Mutant | None) -> None:
        self._wanted = wanted
        self.found: list[Mutant] = []
        self._index = -1

    def visit(self, node: ast.AST) -> ast.AST:
        """Count the node and change it when it is the one."""
        if isinstance(node, ast.Assert | ast.arguments) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            return node
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                node.value = self.visit(node.value)  # type: ignore[assignment]
            return node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [self.visit(each) for each in node.body]  # type: ignore[misc]
            return node
        self._index += 1
        index = self._index
        for variant, (what, changed) in enumerate(changes(node)):
            mutant = Mutant(getattr(node, "lineno", 0), what, index, variant)
            self.found.append(mutant)
            if self._wanted == mutant:
                return changed
        return self.generic_visit(node)


def mutants_of(source: str) -> list[Mutant]:
    """List every change of a module."""
    changer = _Changer(None)
    changer.visit(ast.parse(source))
    return changer.found


def functions_of(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """Yield the code of every function in a module's, by qualified name."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from functions_of(constant)


def live_functions(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions and methods that a module has now."""
    for value in list(vars(module).values()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in vars(value).values():
                inner = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
                if isinstance(inner, FunctionType):
                    yield inner


def is_plain(value: object) -> bool:
    """Tell whether a constant can be put into a module without making two of a class."""
    if isinstance(value, dict):
        return all(is_plain(one) for pair in value.items() for one in pair)
    if isinstance(value, tuple | list | set | frozenset):
        return type(value) in {tuple, list, set, frozenset} and all(is_plain(one) for one in value)
    return value is None or isinstance(value, int | float | str | bytes | range | re.Pattern)


def constants_of(module: ModuleType, code: CodeType) -> dict[str, object]:
    """Execute a module's code beside the module and return its plain constants."""
    names: dict[str, object] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(code, names)
    return {name: value for name, value in names.items() if name.strip("_").isupper() and is_plain(value)}


def apply(module: ModuleType, tree: ast.AST, constants: dict[str, object]) -> bool:
    """Give a module the functions and constants of a changed tree; False when none is another."""
    assert isinstance(tree, ast.Module)
    code = compile(ast.fix_missing_locations(tree), str(module.__file__), "exec")
    fresh = dict(functions_of(code))
    is_changed = False
    for function in live_functions(module):
        body = fresh.get(function.__code__.co_qualname)
        if body is not None and body != function.__code__:
            function.__code__ = body
            is_changed = True
    for name, value in constants_of(module, code).items():
        if repr(value) != repr(constants.get(name)):
            setattr(module, name, value)
            is_changed = True
    return is_changed


class Trial:
    """A plugin of pytest: collects once, then runs the tests in a child for each mutant, until one fails."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._seconds: dict[str, float] = {}
        """How long each test took on the room as it is."""
        self._seconds_max = 0.0
        self._constants: dict[str, object] = {}
        """Those of the room as it is."""
        self.alive: list[Mutant] = []
        self.tried = 0
        self.count = 0
        self.is_sound = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take how long a test took."""
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant."""
        module = sys.modules[self._name]
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        found = mutants_of(source)
        self.count = len(found)
        self._constants = constants_of(module, compile(source, str(module.__file__), "exec"))
        if not self._is_sound(session, module, _Changer(None).visit(ast.parse(source))):
            return True
        self.is_sound = True
        session.items.sort(key=lambda item: self._seconds.get(item.nodeid, 0.0))
        self._seconds_max = SECONDS_PER_MUTANT_MIN + TIMES_AS_LONG_MAX * sum(self._seconds.values())
        chosen = Random(1).sample(found, self._most) if 0 < self._most < len(found) else found
        for mutant in sorted(chosen, key=lambda one: one.index):
            passed = self._passes(session, module, _Changer(mutant).visit(ast.parse(source)))
            self.tried += passed is not None
            if passed:
                self.alive.append(mutant)
        return True

    def _is_sound(self, session: pytest.Session, module: ModuleType, tree: ast.AST) -> bool:
        """Run the collected tests on the room as it is, compiled anew, and learn how long each takes."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            apply(module, tree, self._constants)
            self._run(session)
            with os.fdopen(writing, "w") as told:
                json.dump(self._seconds, told)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            self._seconds = json.loads(told.read() or "{}")
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == 0

    def _passes(self, session: pytest.Session, module: ModuleType, tree: ast.AST) -> bool | None:
        """Run the collected tests in a child; None when the tree changes no function."""
        child = os.fork()
        if child == 0:
            signal.setitimer(signal.ITIMER_REAL, self._seconds_max)
            try:
                if not apply(module, tree, self._constants):
                    os._exit(NOT_TRIED)
                self._run(session)
            except BaseException:  # noqa: BLE001 - the room's own assertions, for instance: noticed.
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return None if code == NOT_TRIED else code == 0

    @staticmethod
    def _run(session: pytest.Session) -> None:
        """Run the collected tests, and end the process at the first that fails."""
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    os._exit(1)


def explanations() -> dict[tuple[str, str, str], int]:
    """Read which mutants cannot be noticed: how many, by room, line and change."""
    with EQUIVALENT.open("rb") as file:
        mutants = tomllib.load(file)["mutant"]
    assert all(one["why"] for one in mutants)
    return {(one["room"], one["line"], one["change"]): one.get("times", 1) for one in mutants}


def main() -> int:
    """Mutate the rooms named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(TESTS)}; all by default")
    parser.add_argument("--most", type=int, default=0, help="at most so many mutants of a room, drawn by a fixed seed")
    options = parser.parse_args()
    if unknown := sorted(set(options.rooms) - set(TESTS)):
        parser.error(f"no tests speak for {', '.join(unknown)} alone")
    explained = explanations()
    is_clean = True
    for name in options.rooms or TESTS:
        trial = Trial(name, options.most)
        tests = [str(ROOT / "tests" / test) for test in TESTS[name]]
        importlib.import_module(name)
        with redirect_stdout(io.StringIO()):
            quiet = ("-q", "-p", "no:cacheprovider", "--capture=sys", "--tb=no", "--hypothesis-profile=mutants")
            pytest.main([*quiet, *tests], plugins=[trial])
        if not trial.is_sound:
            print(f"{name}: its tests do not pass as it is")
            return 2
        path = Path(str(sys.modules[name].__file__))
        lines = path.read_text(encoding="utf-8").splitlines()
        left = {(line, what): times for (room, line, what), times in explained.items() if room == name}
        unexplained = []
        for each in trial.alive:
            key = (lines[each.line - 1].strip(), each.what)
            if left.get(key):
                left[key] -= 1
            else:
                unexplained.append(f"  {path.relative_to(ROOT)}:{each.line}: {each.what}: {key[0]}")
        noticed, equivalent = trial.tried - len(trial.alive), len(trial.alive) - len(unexplained)
        print(f"{name}: {trial.tried} of {trial.count} mutants, {noticed} noticed, {equivalent} equivalent", flush=True)
        stale = [] if options.most else [key for key, times in left.items() if times]
        for line in unexplained + [f"  explained, but noticed or not there: {what}: {line}" for line, what in stale]:
            print(line, flush=True)
        is_clean = is_clean and not unexplained and not stale
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
