"""Mutates the pure rooms, one small change at a time, and says which changes no test notices.

A mutant is never written to disk: pytest collects the room's own tests once, and for each mutant a forked child gives
the room's functions their changed code and runs the tests until the first failure, so that most mutants cost a
fraction of a second. Constants outside of functions are not mutated. Never here: what a survivor means (`docs/reliability.md`).
"""

import argparse
import ast
import copy
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType, FunctionType, ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SECONDS_PER_MUTANT_MAX = 120
UNCHANGED, NOT_TRIED = 0, 77

TESTS: dict[str, tuple[str, ...]] = {
    "services.ledger.rules": ("test_posting.py", "test_spending.py", "test_changes.py", "test_holds.py", "test_posting_crossings.py"),
    "services.ledger.spending": ("test_spending.py", "test_counting.py", "test_changed_limits.py", "test_holds_over_time.py"),
    "services.ledger.specials": ("test_reversals.py", "test_holds.py", "test_reversals_between_shards.py", "test_spending.py"),
    "services.ledger.holds": ("test_holds.py", "test_holds_over_time.py", "test_spending.py", "test_permanent_outcomes.py"),
    "services.ledger.changes": ("test_changes.py", "test_changed_limits.py", "test_counting.py", "test_spending.py"),
    "services.ledger.draft": ("test_posting.py", "test_posting_crossings.py", "test_holds.py", "test_reversals.py",
                              "test_changes.py", "test_spending.py", "test_counting.py"),
    "services.ledger.posting": ("test_posting.py", "test_posting_crossings.py", "test_permanent_outcomes.py",
                                "test_reversals.py", "test_holds.py", "test_spending.py",
                                "test_reversals_between_shards.py"),
    "services.gateway.routing": ("test_routing.py",),
    "services.gateway.validation": ("test_validation.py",),
    "services.ledger.fees": ("test_fee_legs.py",),
    "services.ledger.coordination": ("../model/test_two_phase.py",),
    "services.domain.identifiers": ("test_identifiers.py",),
    "services.domain.chart": ("test_chart.py",),
    "services.domain.fees": ("test_fees.py",),
    "services.domain.metadata": ("test_metadata.py",),
}  # fmt: skip
"""Pure rooms, and the unit tests that speak for each."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Mod: ast.Mult,
}  # fmt: skip


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
        case ast.Expr(value=ast.Call()) | ast.Continue() | ast.Break() | ast.Delete():
            yield "the statement is gone", ast.copy_location(ast.Pass(), node)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "None is returned", ast.copy_location(ast.Return(ast.Constant(None)), node)


class _Changer(ast.NodeTransformer):
    """Applies one mutant, leaving assertions and annotations alone."""

    def __init__(self, wanted: Mutant | None) -> None:
        self._wanted = wanted
        self.found: list[Mutant] = []
        self._index = -1

    def visit(self, node: ast.AST) -> ast.AST:
        """Count the node and change it when it is the one."""
        if isinstance(node, ast.Assert | ast.arguments):
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


def apply(module: ModuleType, tree: ast.AST) -> bool:
    """Give the module's functions the code of a changed tree; False when no function is another."""
    assert isinstance(tree, ast.Module)
    fresh = dict(functions_of(compile(ast.fix_missing_locations(tree), str(module.__file__), "exec")))
    changed = False
    for function in live_functions(module):
        code = fresh.get(function.__code__.co_qualname)
        if code is not None and code != function.__code__:
            function.__code__ = code
            changed = True
    return changed


class Trial:
    """A plugin of pytest: collects once, then runs the tests in a child for each mutant, until one fails."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self.alive: list[Mutant] = []
        self.tried = 0
        self.count = 0
        self.is_sound = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant."""
        module = sys.modules[self._name]
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        found = mutants_of(source)
        self.count = len(found)
        as_it_is = self._passes(session, module, _Changer(None).visit(ast.parse(source)), UNCHANGED)
        self.is_sound = as_it_is is True
        if not self.is_sound:
            return True
        chosen = Random(1).sample(found, self._most) if 0 < self._most < len(found) else found
        for mutant in sorted(chosen, key=lambda one: one.index):
            passed = self._passes(session, module, _Changer(mutant).visit(ast.parse(source)), NOT_TRIED)
            self.tried += passed is not None
            if passed:
                self.alive.append(mutant)
        return True

    @staticmethod
    def _passes(session: pytest.Session, module: ModuleType, tree: ast.AST, unchanged: int) -> bool | None:
        """Run the collected tests in a child; None when the tree changes no function."""
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS_PER_MUTANT_MAX)  # One that runs for ever is noticed, too.
            if not apply(module, tree) and unchanged:
                os._exit(unchanged)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if session.testsfailed:
                        os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return None if code == NOT_TRIED else code == 0


def main() -> int:
    """Mutate the rooms named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(TESTS)}; all by default")
    parser.add_argument("--most", type=int, default=0, help="at most so many mutants of a room, drawn by a fixed seed")
    options = parser.parse_args()
    survivors = 0
    for name in options.rooms or TESTS:
        trial = Trial(name, options.most)
        tests = [str(ROOT / "tests/unit" / test) for test in TESTS[name]]
        importlib.import_module(name)
        with redirect_stdout(io.StringIO()):
            pytest.main(["-q", "-p", "no:cacheprovider", "--capture=sys", "--tb=no", *tests], plugins=[trial])
        if not trial.is_sound:
            print(f"{name}: its tests do not pass as it is")
            return 2
        survivors += len(trial.alive)
        print(f"{name}: {trial.tried} of {trial.count} mutants, {trial.tried - len(trial.alive)} noticed", flush=True)
        path = Path(str(sys.modules[name].__file__))
        lines = path.read_text(encoding="utf-8").splitlines()
        for each in trial.alive:
            print(f"  {path.relative_to(ROOT)}:{each.line}: {each.what}: {lines[each.line - 1].strip()}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
