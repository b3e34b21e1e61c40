"""Properties of the code itself that no linter checks: what a reader may rely on in every file.

Numbers in the ratchets may only go down; a rule without exceptions needs none.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FUNCTION_LINES_MAX = 60
FUNCTION_RATCHET = {"services/ledger/posting.py: post": 90}
"""`post` is the hot path: a straight line of rules, dearer in pieces."""

MODULE_LINES_MAX = 400
MODULE_RATCHET: dict[str, int] = {}

MAY_READ_THE_ENVIRONMENT = re.compile(
    r"services/\w+/__main__\.py|services/chassis/process\.py|services/cli/up\.py|loadtest/\w+/__main__\.py|loadtest/locustfile\.py"
)
"""Where a process starts: its own environment, or that of the services it starts."""


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def modules(*rooms: str) -> dict[str, ast.Module]:
    """Parse every Python file that somebody wrote, by its path in the repository."""
    files = sorted(file for room in rooms for file in (ROOT / room).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): parsed(file) for file in files}


def everything() -> dict[str, ast.Module]:
    return modules("services", "loadtest", "simulation", "tests")


def shipped() -> dict[str, ast.Module]:
    return modules("services", "loadtest")


def found(where: dict[str, ast.Module], rule: Callable[[ast.Module], Iterator[ast.AST]]) -> list[str]:
    """Apply a rule and name what breaks it."""
    return [f"{path}:{getattr(node, 'lineno', 1)}" for path, tree in where.items() for node in rule(tree)]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def without_sentence(tree: ast.Module) -> Iterator[ast.AST]:
    sentence = ast.get_docstring(tree) or ""
    if len(sentence.split()) < 4:
        yield tree


SQL = re.compile(
    r"\bSELECT\b.+?\bFROM\b|\bINSERT\s+INTO\b|\bUPDATE\b.+?\bSET\b|\bDELETE\s+FROM\b|\bTRUNCATE\s+(TABLE\s+)?\w+"
    r"|\b(CREATE|ALTER|DROP)\s+(TABLE|SCHEMA|DATABASE|INDEX|ROLE|FUNCTION|VIEW)\b"
    r"|\A\s*(?i:select\s.+\sfrom\s|insert\s+into\s|update\s.+\sset\s|delete\s+from\s|create\s+table\s|begin;)",
    re.DOTALL,
)


def sql_strings(tree: ast.Module) -> Iterator[ast.AST]:
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            text = node.value
        else:
            continue
        if SQL.search(text):
            yield node


def environment_reads(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}:
            yield node
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (name for name in node.names if name.name in {"environ", "getenv"})


def dropped_tasks(tree: ast.Module) -> Iterator[ast.AST]:
    """Find tasks that nobody owns: only a group keeps a task whose name is not kept."""
    for node in ast.walk(tree):
        kept = not isinstance(node, ast.Expr | ast.Assign) or (
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) != "_"
        )
        if kept or not isinstance(node.value, ast.Call):
            continue
        called = ast.unparse(node.value.func)
        if re.fullmatch(r"(asyncio|\w*loop|.*\.\w*loop|.*loop\(\))\.(create_task|ensure_future)|ensure_future", called):
            yield node


MONEY = re.compile(r"amount|balance|_minor\b|\bminor_")


def floating_money(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            suspect = [ast.unparse(argument) for argument in node.args]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            suspect = [ast.unparse(side) for side in (node.left, node.right)]
        elif isinstance(node, ast.AnnAssign) and "float" in ast.unparse(node.annotation):
            suspect = [ast.unparse(node.target)]
        elif isinstance(node, ast.arg) and node.annotation is not None and "float" in ast.unparse(node.annotation):
            suspect = [node.arg]
        else:
            continue
        if any(MONEY.search(text) for text in suspect):
            yield node


def sleeps_of_a_thread(tree: ast.Module) -> Iterator[ast.AST]:
    """Find `time.sleep`: it stops a service's loop, and in a test it is a guess."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield node
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (name for name in node.names if name.name == "sleep")


def sleeps_for_a_guess(tree: ast.Module) -> Iterator[ast.AST]:
    """Find waits of a length that somebody guessed, outside of a loop that looks whether it is time."""
    looping = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.For | ast.AsyncFor | ast.While)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.sleep" and id(node) not in looping:
            seconds = node.args[0]
            if not (isinstance(seconds, ast.Constant) and seconds.value == 0):
                yield node


def grpc_aio(tree: ast.Module) -> Iterator[ast.AST]:
    """Find uses of grpc's own channels and servers; that `grpc` itself imports them cannot be helped."""
    for node in ast.walk(tree):
        names = isinstance(node, ast.Attribute | ast.Import | ast.ImportFrom)
        if names and "grpc.aio" in ast.unparse(node).replace(" import ", "."):
            yield node


def test_every_module_says_what_lives_there() -> None:
    assert found(everything(), without_sentence) == []


def test_no_sql_stands_in_python() -> None:
    assert found(shipped(), sql_strings) == []


def test_the_environment_is_read_only_where_a_process_starts() -> None:
    elsewhere = {path: tree for path, tree in shipped().items() if not MAY_READ_THE_ENVIRONMENT.fullmatch(path)}
    assert found(elsewhere, environment_reads) == []


def test_every_task_has_an_owner() -> None:
    assert found(everything(), dropped_tasks) == []


def test_no_float_touches_money() -> None:
    assert found(shipped(), floating_money) == []


def test_nothing_stops_a_whole_thread_to_wait() -> None:
    assert found(modules("services", "tests"), sleeps_of_a_thread) == []


def test_only_the_command_line_uses_what_grpc_brings_along() -> None:
    services = modules("services")
    assert found({path: tree for path, tree in services.items() if "/cli/" not in path}, grpc_aio) == []
    assert found({"services/cli/channels.py": services["services/cli/channels.py"]}, grpc_aio)


def test_no_test_waits_for_a_guessed_time() -> None:
    assert found(modules("tests"), sleeps_for_a_guess) == []


def test_no_two_test_modules_share_a_name() -> None:
    # pytest imports them by it alone, and only a run of all tests would stumble.
    counts = Counter(path.rpartition("/")[2] for path in modules("tests"))
    assert {name for name, count in counts.items() if count > 1} <= {"conftest.py", "__init__.py", "__main__.py"}


def too_long(lines_by_name: dict[str, int], lines_max: int, ratchet: dict[str, int]) -> dict[str, int]:
    """Name what is longer than it may be, and exceptions that are not needed any more."""
    assert all(lines > lines_max for lines in ratchet.values())
    over = {name: lines for name, lines in lines_by_name.items() if lines > ratchet.get(name, lines_max)}
    return over | {name: 0 for name in ratchet if lines_by_name.get(name, 0) <= lines_max}


def test_functions_are_short() -> None:
    lines_by_name = {
        f"{path}: {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path, tree in everything().items()
        for function in functions(tree)
    }
    assert too_long(lines_by_name, FUNCTION_LINES_MAX, FUNCTION_RATCHET) == {}


def test_modules_are_short() -> None:
    lines_by_name = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in everything()}
    assert too_long(lines_by_name, MODULE_LINES_MAX, MODULE_RATCHET) == {}


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (without_sentence, "x = 1"),
        (without_sentence, '"""Things."""'),
        (sql_strings, 'q = "SELECT a\\n  FROM b"'),
        (sql_strings, 'q = "select a from b"'),
        (sql_strings, 'q = f"DELETE FROM {table} WHERE x"'),
        (sql_strings, 'q = f"UPDATE {table} SET x = 1"'),
        (sql_strings, 'f("insert " "into x values (1)")'),
        (sql_strings, 'f("CREATE TABLE x ()")'),
        (environment_reads, "import os\nos.environ['X']"),
        (environment_reads, "from os import getenv"),
        (dropped_tasks, "asyncio.create_task(run())"),
        (dropped_tasks, "_ = asyncio.create_task(run())"),
        (dropped_tasks, "self._loop.create_task(run())"),
        (dropped_tasks, "asyncio.get_running_loop().create_task(run())"),
        (floating_money, "float(amount_minor)"),
        (floating_money, "x = balance_minor / 100"),
        (floating_money, "amount: float = 1"),
        (floating_money, "def f(amount_minor: float): ..."),
        (sleeps_of_a_thread, "import time\ntime.sleep(1)"),
        (grpc_aio, "import grpc.aio"),
        (grpc_aio, "from grpc import aio"),
        (grpc_aio, "grpc.aio.insecure_channel(address)"),
        (sleeps_for_a_guess, "async def f(): await asyncio.sleep(0.1)"),
    ],
)
def test_the_rule_sees_what_it_forbids(rule: Callable[[ast.Module], Iterator[ast.AST]], code: str) -> None:
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (sql_strings, '"""SELECT a FROM b: this is prose."""'),
        (sql_strings, 'say("choose one from the list, then set it")'),
        (dropped_tasks, "group.create_task(run())"),
        (dropped_tasks, "task = asyncio.create_task(run())"),
        (floating_money, "seconds / 2 + float(claims)"),
        (floating_money, "amount_minor // 100"),
        (sleeps_for_a_guess, "async def f():\n while not done: await asyncio.sleep(0.01)"),
        (sleeps_for_a_guess, "async def f(): await asyncio.sleep(0)"),
    ],
)
def test_the_rule_leaves_the_rest_alone(rule: Callable[[ast.Module], Iterator[ast.AST]], code: str) -> None:
    assert not list(rule(ast.parse(code)))
