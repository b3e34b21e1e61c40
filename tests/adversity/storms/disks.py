"""Small file systems in memory for PostgreSQL's data and for its log, which can be made full and roomy again.

They live in a mount namespace of the storm's own and are gone with it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOMY_BYTES = 6 * 2**30
"""An upper bound; only what is used takes memory."""
TIGHT_BYTES = 128 * 1024
"""What is left on a full disk: a few pages."""

INSIDE = "--in-own-namespace"


def enter_namespace(module: str, arguments: list[str]) -> str:
    """Begin this program again where it may mount, and do not return; or return why it may not."""
    if os.geteuid() != 0:
        return "only root may mount here"
    probe = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        return probe.stderr.strip() or "mounting is refused"
    return os.execvp("unshare", ["unshare", "--mount", sys.executable, "-m", module, INSIDE, *arguments])


class Disk:
    """One file system."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={ROOMY_BYTES},mode=755", "hivecore-storm", str(self.place))

    def fill(self) -> None:
        """Leave hardly any room. What is written meanwhile may be in the way: it is tried again."""
        for margin in (TIGHT_BYTES, 4 * TIGHT_BYTES, 32 * TIGHT_BYTES):
            found = os.statvfs(self.place)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            if _remount(self.place, used + margin):
                return
        raise RuntimeError(f"{self.place} cannot be made small")

    def free(self) -> None:
        """Make room again."""
        assert _remount(self.place, ROOMY_BYTES)


def move_log(cluster: Path, disk: Disk) -> None:
    """Put a stopped cluster's write-ahead log on a disk of its own, as its documentation says."""
    log = cluster / "pg_wal"
    owner = log.stat()
    disk.mount()
    there = disk.place / "pg_wal"
    shutil.copytree(log, there)
    for each in (disk.place, there, *there.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)
    shutil.rmtree(log)
    log.symlink_to(there)


def _remount(place: Path, size: int) -> bool:
    return (
        subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=False, capture_output=True).returncode
        == 0
    )


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def remove(place: Path) -> None:
    """Remove a directory with the disks that are mounted below it."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for each in mounted:
        if Path(each).is_relative_to(place):
            subprocess.run(["umount", "--lazy", each], check=False, capture_output=True)
    shutil.rmtree(place)
