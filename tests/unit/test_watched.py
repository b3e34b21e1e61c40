"""A file is read again when it changes, and what is in force is always a whole one."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.chassis import watched
from services.chassis.settings import SettingsError
from services.chassis.watched import LOOK_SECONDS, WatchedFile


class Clock:
    """Time that passes when told to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _is_in_force() -> bool:
    return REGISTRY.get_sample_value("hivecore_file_in_force", {"file": "test"}) == 1


def _number(text: bytes) -> int:
    return int(text)


def test_a_changed_file_is_in_force_once_it_is_time_to_look_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    file, clock = tmp_path / "number", Clock()
    file.write_text("1")
    number = WatchedFile(file, _number, "test", now=clock)
    file.write_text("22")
    assert (number.look(), number.value) == (1, 1)
    clock.seconds += LOOK_SECONDS
    assert (number.look(), number.value, _is_in_force()) == (2, 22, True)
    file.write_text("none")
    clock.seconds += LOOK_SECONDS
    assert (number.look(), number.value, _is_in_force()) == (2, 22, False)
    file.unlink()
    clock.seconds += LOOK_SECONDS
    assert (number.look(), number.value, _is_in_force()) == (2, 22, False)
    file.write_text("4444")
    clock.seconds += LOOK_SECONDS
    assert (number.look(), number.value, _is_in_force()) == (3, 4444, True)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, clock = tmp_path / "number", Clock()
    file.write_text("1")
    number = WatchedFile(file, _number, "test", now=clock)
    monkeypatch.setattr(watched, "FILE_BYTES_MAX", 3)
    file.write_text("4444")
    clock.seconds += LOOK_SECONDS
    assert (number.look(), number.value) == (1, 1)


@pytest.mark.parametrize("text", [None, "none"])
def test_a_process_does_not_start_without_a_whole_file(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "number"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=str(file)):
        WatchedFile(file, _number, "test")
