"""A process's certificate is read again when its files change, and only when they fit together."""

from pathlib import Path

import pytest

from services.chassis.identity import LOOK_SECONDS, Identity
from services.chassis.settings import ServiceSettings, SettingsError, read
from services.cli import authority
from services.cli.certificates import Certificates


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def own(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "tls")
    authority.ensure(made, ["ledger"])
    return made


def _identity(own: Certificates, clock: Clock) -> Identity:
    return Identity(own.certificate_file("ledger"), own.key_file("ledger"), own.authority_file, now=clock)


def test_unchanged_files_stay_in_force(own: Certificates) -> None:
    clock = Clock()
    identity = _identity(own, clock)
    authority.ensure(own, ["ledger"])
    clock.seconds += 10 * LOOK_SECONDS
    assert identity.look() == 1


def test_renewed_files_are_in_force_once_it_is_time_to_look(own: Certificates) -> None:
    clock = Clock()
    identity = _identity(own, clock)
    own.certificate_file("ledger").unlink()
    authority.ensure(own, ["ledger"])
    assert identity.look() == 1
    clock.seconds += LOOK_SECONDS
    assert identity.look() == 2
    clock.seconds += LOOK_SECONDS
    assert identity.look() == 2


def test_a_certificate_whose_key_has_not_come_yet_is_not_taken(own: Certificates, tmp_path: Path) -> None:
    clock = Clock()
    identity = _identity(own, clock)
    others = Certificates(tmp_path / "other")
    authority.ensure(others, ["ledger"])
    own.certificate_file("ledger").write_bytes(others.certificate_file("ledger").read_bytes())
    clock.seconds += LOOK_SECONDS
    assert identity.look() == 1
    own.key_file("ledger").write_bytes(others.key_file("ledger").read_bytes())
    clock.seconds += LOOK_SECONDS
    assert identity.look() == 2


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nno\n"])
def test_files_that_make_no_sense_or_are_gone_leave_what_was_in_force(own: Certificates, damage: bytes) -> None:
    clock = Clock()
    identity = _identity(own, clock)
    own.certificate_file("ledger").write_bytes(damage)
    clock.seconds += LOOK_SECONDS
    assert identity.look() == 1
    own.certificate_file("ledger").unlink()
    clock.seconds += LOOK_SECONDS
    assert identity.look() == 1


def test_a_missing_file_stops_the_process_with_its_name(own: Certificates) -> None:
    own.key_file("ledger").unlink()
    with pytest.raises(SettingsError, match=r"cannot read .*ledger\.key"):
        _identity(own, Clock())


def test_papers_are_given_together() -> None:
    with pytest.raises(SettingsError, match="are given together"):
        read(ServiceSettings, {"HIVECORE_CERTIFICATE_FILE": "/x"})


def test_keys_are_for_their_owner_only(own: Certificates) -> None:
    for file in (own.key_file("ledger"), own.directory / "authority.key"):
        assert file.stat().st_mode & 0o077 == 0
