"""Under which account PostgreSQL runs: it refuses to be root, and the bank may well be.

An ordinary user runs it as himself. Root hands it to an existing account, or, where that account
cannot reach the data directory, keeps the files and runs it in a user namespace in which root is
called `nobody`. Never here: changing the mode of a directory that is not ours.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from services.chassis.children import LaunchError

ACCOUNTS: Final = ("postgres", "nobody")
"""Accounts that root hands PostgreSQL to, in order of preference; it needs one with a passwd entry."""

ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent"}
"""Nothing of ours: PostgreSQL and its programs read many variables."""

NAMESPACE: Final = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


@dataclass(frozen=True, slots=True)
class RunAs:
    """How PostgreSQL's programs are started, and who must own its files."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()
    """Words before the program: those that make it run in a user namespace."""
    spawn: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for `subprocess.Popen`."""

    @classmethod
    def this_user(cls) -> Self:
        """Start programs as this process is."""
        return cls(os.geteuid(), os.getegid())

    @classmethod
    def account(cls, entry: pwd.struct_passwd) -> Self:
        """Drop from root to an account."""
        spawn = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}
        return cls(entry.pw_uid, entry.pw_gid, spawn=spawn)

    @classmethod
    def namespace(cls) -> Self:
        """Stay root outside, be nobody inside: the files stay root's and nothing need be reachable by others."""
        return cls(os.geteuid(), os.getegid(), prefix=(shutil.which(NAMESPACE[0]) or NAMESPACE[0], *NAMESPACE[1:]))

    def run(self, *command: str | Path) -> tuple[int, str]:
        """Run a command to its end; give its exit status and what it said. Raises OSError if it cannot be started."""
        done = subprocess.run(  # noqa: S603
            self._words(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            check=False,
            **self.spawn,
        )
        return done.returncode, done.stdout.decode(errors="replace").strip()

    def start(self, log: BinaryIO, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, so that a terminal's Ctrl-C does not reach it."""
        return subprocess.Popen(  # noqa: S603
            self._words(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            **self.spawn,
        )

    def _words(self, command: Sequence[str | Path]) -> list[str]:
        return [*self.prefix, *(str(word) for word in command)]

    def can(self, *command: str | Path) -> bool:
        """Whether a command succeeds when started like this."""
        try:
            return self.run(*command)[0] == 0
        except OSError:
            return False

    def can_enter(self, directory: Path) -> bool:
        """Whether every directory on the way to `directory`, and that one too, may be passed through."""
        return self.can("/usr/bin/test", "-x", directory)

    def give(self, path: Path) -> None:
        """Make a file or directory theirs."""
        if (self.uid, self.gid) != (os.geteuid(), os.getegid()):
            os.chown(path, self.uid, self.gid)


def choose(directory: Path, data: Path, accounts: Sequence[str] = ACCOUNTS) -> RunAs:
    """Choose who runs PostgreSQL on the cluster `data` below `directory`; an existing cluster keeps its owner.

    Raises LaunchError with a way out when root has nobody to hand it to.
    """
    if os.geteuid() != 0:
        return RunAs.this_user()
    if data.exists():
        return _owner_of(directory, data)
    for name in accounts:
        try:
            candidate = RunAs.account(pwd.getpwnam(name))
        except KeyError:
            continue
        if candidate.can_enter(directory):
            return candidate
    return _namespace_or_refuse(directory)


def _owner_of(directory: Path, data: Path) -> RunAs:
    uid = data.stat().st_uid
    if uid == 0:
        return _namespace_or_refuse(directory)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise LaunchError(f"{data} belongs to user id {uid}, and there is no such account here") from None
    owner = RunAs.account(entry)
    if not owner.can_enter(directory):
        raise LaunchError(
            f"the account {entry.pw_name!r} owns {data} but cannot reach it: let it pass through the directories above"
        )
    return owner


def _namespace_or_refuse(directory: Path) -> RunAs:
    namespace = RunAs.namespace()
    if namespace.can("/usr/bin/test", "-x", directory):
        return namespace
    raise LaunchError(
        "PostgreSQL refuses to run as root. No account of this machine that it could be handed to can reach "
        f"{directory}, and user namespaces are not allowed here: choose a data directory that everybody can "
        "pass through, such as one below /var/lib, or run this as an ordinary user"
    )
