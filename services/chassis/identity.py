"""Who a process is to others: a certificate, its key, and the authority whose word it takes.

Files are read again when they change, so certificates are renewed without a restart: a server shows
the new one to whoever connects next, clients open new connections. Never here: making certificates.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from services.chassis.settings_error import SettingsError

if TYPE_CHECKING:
    import structlog

    from services.chassis.settings import ServiceSettings

LOOK_SECONDS: Final = 1.0
"""Files are looked at no more often than this."""


@dataclass(frozen=True, slots=True)
class _Papers:
    """What the files say."""

    certificate: bytes
    key: bytes
    authority: bytes | None


class Identity:
    """A certificate with its key, and an authority if others must show one of its certificates too."""

    def __init__(
        self,
        certificate_file: Path,
        key_file: Path,
        authority_file: Path | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files. Raises `SettingsError` when one is not readable."""
        self._files = (certificate_file, key_file) + ((authority_file,) if authority_file else ())
        self._now = now
        self._looked_at = now()
        try:
            self._stamp = self._stamped()
            self._papers = self._read()
        except OSError as error:
            raise SettingsError(f"cannot read {error.filename}: {error.strerror}") from None
        self.version = 1
        """Grows when other files are in force."""

    @classmethod
    def among_services(cls, settings: "ServiceSettings") -> Self | None:
        """Read what a process shows other services; None where they speak plain text. Raises as the constructor."""
        if settings.certificate_file is None or settings.key_file is None:
            return None
        return cls(settings.certificate_file, settings.key_file, settings.authority_file)

    def look(self) -> int:
        """Take changed files in, if it is time to look; return the version in force.

        Files that are not readable, or half written, leave what was in force.
        """
        now = self._now()
        if now - self._looked_at < LOOK_SECONDS:
            return self.version
        self._looked_at = now
        try:
            stamp = self._stamped()
            if stamp != self._stamp:
                papers = self._read()
                self._stamp = stamp
                if papers != self._papers and _fit(papers):
                    self._papers = papers
                    self.version += 1
                    _log().info("certificate_renewed", version=self.version)
        except OSError as error:
            _log().warning("certificate_not_readable", error=type(error).__name__)
        return self.version

    def server_context(self) -> ssl.SSLContext:
        """Make what a server listens with; with an authority, callers must show a certificate of it."""
        first = self._context()
        shown = (self.version, first)

        def show_newest(connecting: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
            nonlocal shown
            version = self.look()
            if version != shown[0]:
                try:
                    shown = version, self._context()
                except OSError as error:
                    _log().warning("certificate_not_readable", error=type(error).__name__)
            connecting.context = shown[1]

        first.sni_callback = show_newest
        return first

    def client_context(self) -> ssl.SSLContext:
        """Make what a client connects with, as things stand now."""
        papers = self._papers
        context = ssl.create_default_context(cadata=papers.authority.decode() if papers.authority else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        certificate_file, key_file, *_ = self._files
        context.load_cert_chain(certificate_file, key_file)
        return context

    def _context(self) -> ssl.SSLContext:
        """Make a context of the files. Raises OSError while they are being replaced."""
        papers = self._papers
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        certificate_file, key_file, *_ = self._files
        context.load_cert_chain(certificate_file, key_file)
        if papers.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=papers.authority.decode())
        return context

    def _stamped(self) -> tuple[tuple[int, int, int], ...]:
        stats = [file.stat() for file in self._files]
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in stats)

    def _read(self) -> _Papers:
        certificate, key, *authority = (file.read_bytes() for file in self._files)
        return _Papers(certificate, key, authority[0] if authority else None)


def _log() -> "structlog.stdlib.BoundLogger":
    # Imported here: a command that only makes a call does not pay for what services log with.
    from services.chassis import logs  # noqa: PLC0415

    return logs.get(__name__)


def _fit(papers: _Papers) -> bool:
    """Tell whether a key is its certificate's: files are replaced one after the other."""
    # Imported here: a process without certificates does not pay for it.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        certificate = x509.load_pem_x509_certificate(papers.certificate)
        key = serialization.load_pem_private_key(papers.key, None)
        whole = papers.authority is None or bool(x509.load_pem_x509_certificates(papers.authority))
    except ValueError:
        return False
    return whole and key.public_key() == certificate.public_key()
