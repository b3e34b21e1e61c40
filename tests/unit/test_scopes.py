"""Every call of the public API needs a scope, and a door that forgets to ask for it is noticed."""

from inspect import signature

import pytest
from google.protobuf.message_factory import GetMessageClass
from hivecore.gateway.v1 import bank_pb2

from services.chassis.watched import Unwatched
from services.cli import tokens
from services.domain import errors
from services.gateway import authentication, scopes
from services.gateway.authentication import Authenticator, Caller, Keys
from services.gateway.service import BankService

METHODS = {method.name: method for method in bank_pb2.DESCRIPTOR.services_by_name["Bank"].methods}


class NoMetadata:
    """The context of a call without a token."""

    def invocation_metadata(self) -> tuple[()]:
        return ()


def _caller(*granted: str, customer: int | None = None) -> Caller:
    return Caller("somebody", "test", frozenset(granted), customer, 0.0)


def test_the_table_has_every_call_of_the_public_api_and_no_other() -> None:
    assert scopes.SCOPE_BY_CALL.keys() == METHODS.keys()


@pytest.mark.parametrize("call", METHODS)
async def test_a_call_without_a_token_goes_no_further_than_the_door(call: str) -> None:
    keys = Unwatched(Keys.of_secret(b"s" * 32))
    authenticator = Authenticator(
        keys, issuer="hivecore", audience="hivecore", clock_skew_seconds=0, tokens_max=1, now=lambda: 0.0
    )
    nothing_behind: list[object] = [None] * (len(signature(BankService).parameters) - 1)
    service = BankService(authenticator, *nothing_behind)  # type: ignore[arg-type]
    with pytest.raises(errors.Unauthenticated) as refused:
        await getattr(service, call)(GetMessageClass(METHODS[call].input_type)(), NoMetadata())
    assert refused.value.reason == "TOKEN_MISSING"


@pytest.mark.parametrize("call", METHODS)
def test_a_call_needs_exactly_its_own_scope(call: str) -> None:
    scope = scopes.SCOPE_BY_CALL[call]
    authentication.check_allowed(_caller(scope), call)
    others = set(scopes.SCOPE_BY_CALL.values()) - {scope}
    with pytest.raises(errors.Forbidden) as refused:
        authentication.check_allowed(_caller(*others), call)
    assert refused.value.reason == "SCOPE_MISSING"


@pytest.mark.parametrize("dispensation", scopes.SCOPE_BY_DISPENSATION)
def test_being_let_off_a_rule_needs_a_scope_that_no_call_needs(dispensation: str) -> None:
    scope = scopes.SCOPE_BY_DISPENSATION[dispensation]
    authentication.check_dispensation(_caller(scope), dispensation)
    with pytest.raises(errors.Forbidden) as refused:
        authentication.check_dispensation(_caller(*scopes.SCOPE_BY_CALL.values()), dispensation)
    assert (refused.value.reason, refused.value.metadata) == ("SCOPE_MISSING", {"scope": scope})


def test_calls_that_need_a_writing_scope_are_no_look_ups() -> None:
    reading = {scopes.ACCOUNTS_READ, scopes.AUDIT_READ, scopes.GL_READ}
    beside = {"ListShards", "QuoteTransfer"}
    assert {call for call in METHODS if scopes.SCOPE_BY_CALL[call] in reading} | beside == scopes.LOOK_UP_CALLS


def test_the_command_line_can_mint_a_token_for_everything() -> None:
    assert set(tokens.SCOPES) == {*scopes.SCOPE_BY_CALL.values(), *scopes.SCOPE_BY_DISPENSATION.values()}
    assert len(set(tokens.SCOPES)) == len(tokens.SCOPES)


@pytest.mark.parametrize("call", METHODS)
def test_a_token_limited_to_a_customer_makes_no_bank_wide_call(call: str) -> None:
    limited = _caller(*scopes.SCOPE_BY_CALL.values(), customer=1)
    if call not in scopes.BANK_WIDE_CALLS:
        authentication.check_allowed(limited, call)
        return
    with pytest.raises(errors.Forbidden) as refused:
        authentication.check_allowed(limited, call)
    assert refused.value.reason == "TOKEN_LIMITED_TO_CUSTOMER"
