"""What an operator may tell the account process, and the sentences for what is wrong."""

import json

import pytest

from services.account.settings import AccountSettings
from services.account.store import ShardPlan
from services.chassis import settings
from services.chassis.settings import SettingsError

SHARD = {"dsn": "postgresql:///one", "ledgers": ["127.0.0.1:7101", "127.0.0.1:7201"]}


def read(shards: object = None, **given: str) -> AccountSettings:
    environment = {"CONTROL_DSN": "postgresql:///control", "SHARDS": json.dumps(shards or {"1": SHARD})} | given
    return settings.read(AccountSettings, {f"HIVECORE_{name}": value for name, value in environment.items()})


def test_the_least_that_must_be_said() -> None:
    options = read()
    assert options.control_dsn.get_secret_value() == "postgresql:///control"
    assert options.shards[1].plan == ShardPlan(("127.0.0.1:7101", "127.0.0.1:7201"), 5_000_000)
    assert options.currencies == (203, 840, 978)


def test_currencies_are_codes_with_commas_between_them() -> None:
    assert read(CURRENCIES="JPY, CZK,JPY").currencies == (203, 392)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(read({"1": SHARD | {"dsn": "postgresql://bank:secret@db/one"}}))


@pytest.mark.parametrize(
    ("shards", "given", "sentence"),
    [
        (None, {"CURRENCIES": "CZK,XYZ"}, "HIVECORE_CURRENCIES: .*'XYZ': not an ISO 4217 currency code"),
        (None, {"CURRENCIES": ""}, "HIVECORE_CURRENCIES: .*'': not an ISO 4217 currency code"),
        ({"0": SHARD}, {}, "HIVECORE_SHARDS"),
        ({"1000": SHARD}, {}, "HIVECORE_SHARDS"),
        ({"1": SHARD | {"ledgers": []}}, {}, r"HIVECORE_SHARDS\[1\]\[ledgers\]"),
        ({"1": SHARD | {"ledgers": ["nowhere"]}}, {}, "not host:port"),
        ({"1": SHARD | {"customer_quota": 0}}, {}, r"HIVECORE_SHARDS\[1\]\[customer_quota\]"),
        ({"1": SHARD | {"customer_quota": 10**8}}, {}, r"HIVECORE_SHARDS\[1\]\[customer_quota\]"),
        ({"1": SHARD | {"quota": 5}}, {}, r"HIVECORE_SHARDS\[1\]\[quota\]"),
        (None, {"SWEEP_SECOND": "1"}, "did you mean HIVECORE_SWEEP_SECONDS"),
    ],
)
def test_what_is_wrong_is_said(shards: object, given: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read(shards, **given)
