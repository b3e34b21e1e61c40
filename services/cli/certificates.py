"""Where a bank on this machine keeps certificates of its own authority: only names of files.

So commands that make none need no cryptography. Never here: making them (`authority.py`).
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where a bank keeps them."""

    directory: Path

    @property
    def authority_file(self) -> Path:
        """The authority's certificate, for everybody."""
        return self.directory / "authority.pem"

    @property
    def authority_key_file(self) -> Path:
        """The authority's key, for nobody else."""
        return self.directory / "authority.key"

    def certificate_file(self, name: str) -> Path:
        """Name a process's certificate."""
        return self.directory / f"{name}.pem"

    def key_file(self, name: str) -> Path:
        """Name its key."""
        return self.directory / f"{name}.key"
