"""A gateway starts with exactly one kind of key and room for the largest call, or not at all."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.chassis import settings
from services.chassis.settings import SettingsError
from services.domain import limits
from services.gateway.settings import GatewaySettings

ACCOUNT = {"HIVECORE_ACCOUNT_ADDRESS": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"HIVECORE_JWT_SECRET_FILE": "secret"}, "jwt_secret_file"),
        ({"HIVECORE_JWKS_FILE": "keys.json"}, "jwks_file"),
    ],
)
def test_one_kind_of_key_is_enough(environment: Mapping[str, str], field: str) -> None:
    read = settings.read(GatewaySettings, ACCOUNT | environment)
    assert getattr(read, field) == Path(next(iter(environment.values())))


@pytest.mark.parametrize("environment", [{}, {"HIVECORE_JWT_SECRET_FILE": "a", "HIVECORE_JWKS_FILE": "b"}])
def test_no_key_and_two_kinds_of_key_are_refused(environment: Mapping[str, str]) -> None:
    with pytest.raises(SettingsError, match="exactly one"):
        settings.read(GatewaySettings, ACCOUNT | environment)


def test_the_queue_has_room_for_the_largest_call() -> None:
    few = str(limits.TRANSFERS_PER_CALL_MAX - 1)
    with pytest.raises(SettingsError, match="HIVECORE_QUEUE_TRANSFERS_MAX"):
        settings.read(
            GatewaySettings, ACCOUNT | {"HIVECORE_JWKS_FILE": "keys.json", "HIVECORE_QUEUE_TRANSFERS_MAX": few}
        )
