"""Settings come from the mapping given, whole and checked; a typo is fatal."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from services.chassis.settings import Address, ServiceSettings, SettingsError, read


class Shard(BaseModel):
    """What a shard is told."""

    dsn: str
    ledgers: tuple[Address, ...] = ()


class RoomSettings(ServiceSettings):
    """A service with everything a service may ask for."""

    control_dsn: str
    shards: dict[int, Shard] = Field(default_factory=dict)
    currencies: Annotated[tuple[str, ...], NoDecode] = ("CZK",)
    lease_seconds: float = 3.0

    @field_validator("currencies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value


WHOLE = {
    "HIVECORE_LISTEN": "[::1]:7100",
    "HIVECORE_METRICS_LISTEN": "0.0.0.0:9100",
    "HIVECORE_INSTANCE": "ledger-1",
    "HIVECORE_LOG_LEVEL": "WARNING",
    "HIVECORE_ENDPOINT_FILE": "/run/endpoint.json",
    "HIVECORE_STOP_WITH_PARENT": "1",
    "HIVECORE_CONTROL_DSN": "postgresql://nowhere/control",
    "HIVECORE_SHARDS": '{"1": {"dsn": "postgresql://nowhere/1", "ledgers": ["127.0.0.1:7101"]}}',
    "HIVECORE_CURRENCIES": "CZK,EUR",
    "HIVECORE_LEASE_SECONDS": "1.5",
    "PATH": "/bin",
}


def test_every_setting_is_read_and_what_is_not_ours_is_left_alone() -> None:
    settings = read(RoomSettings, WHOLE)
    assert settings.listen == "[::1]:7100"
    assert settings.endpoint_file == Path("/run/endpoint.json")
    assert settings.stop_with_parent is True
    assert settings.shards == {1: Shard(dsn="postgresql://nowhere/1", ledgers=("127.0.0.1:7101",))}
    assert settings.currencies == ("CZK", "EUR")
    assert settings.lease_seconds == 1.5


def test_what_is_not_said_has_its_default() -> None:
    settings = read(ServiceSettings, {})
    assert (settings.listen, settings.log_level, settings.endpoint_file) == ("127.0.0.1:0", "INFO", None)


def test_only_the_mapping_given_counts_not_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVECORE_INSTANCE", "from outside")
    monkeypatch.setenv("HIVECORE_NONSENSE", "from outside")
    assert read(ServiceSettings, {}).instance == "1"


def test_a_typo_is_fatal_and_the_sentence_knows_what_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"^HIVECORE_LISEN is not a setting: did you mean HIVECORE_LISTEN\?$"):
        read(ServiceSettings, {"HIVECORE_LISEN": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HIVECORE_LISTEN", "7100", "HIVECORE_LISTEN: .*'7100' is not host:port"),
        ("HIVECORE_LISTEN", "127.0.0.1:70000", "is not host:port"),
        ("HIVECORE_LOG_LEVEL", "LOUD", "HIVECORE_LOG_LEVEL: "),
        ("HIVECORE_STOP_WITH_PARENT", "perhaps", "HIVECORE_STOP_WITH_PARENT: "),
        ("HIVECORE_SHARDS", "{", "shards"),
        ("HIVECORE_SHARDS", '{"1": {}}', r"HIVECORE_SHARDS\[1\]\[dsn\]: "),
    ],
)
def test_a_wrong_value_is_fatal_and_the_sentence_names_its_variable(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read(RoomSettings, WHOLE | {name: value})


def test_a_setting_that_is_needed_and_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="HIVECORE_CONTROL_DSN: "):
        read(RoomSettings, {})


def test_a_wrong_value_never_shows_in_the_sentence_as_it_may_be_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        read(RoomSettings, WHOLE | {"HIVECORE_SHARDS": '{"1": {"dsn": ["hunter2"]}}'})
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(ServiceSettings, {}).listen = "127.0.0.1:1"
