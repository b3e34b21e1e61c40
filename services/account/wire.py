"""Between protobuf messages and values.

Callers are trusted and have validated what they send; only what would do harm to others in the same
call is refused here. Never here: deciding anything.
"""

from collections.abc import Iterable, Mapping, Sequence

from hivecore.account.v1 import account_pb2

from services.account.opening import MESSAGES, Account, AccountWanted, Customer, CustomerWanted, Opener, Refusal
from services.account.partners import NostroAccount
from services.account.placing import Kind
from services.account.records import PaymentFile
from services.domain import currencies, errors, limits
from services.domain.directory import Directory

_KINDS: Mapping[int, Kind] = {
    account_pb2.FindReferencesRequest.CUSTOMER: Kind.CUSTOMER_REFERENCE,
    account_pb2.FindReferencesRequest.ACCOUNT: Kind.ACCOUNT_REFERENCE,
}


def check_count(field: str, count: int) -> None:
    """Raise `Malformed` (TOO_MANY_ITEMS) when a call has more items than a call may have."""
    if count > limits.OPENINGS_PER_CALL_MAX:
        raise errors.Malformed("TOO_MANY_ITEMS", field, f"at most {limits.OPENINGS_PER_CALL_MAX} per call")


def customers_wanted(request: account_pb2.OpenCustomersRequest) -> list[CustomerWanted]:
    """Read the customers to open. Raises `Malformed`."""
    check_count("items", len(request.items))
    opener = _opener(request)
    wants = [
        CustomerWanted(item.request_id, item.external_reference, item.display_name, opener) for item in request.items
    ]
    for place, want in enumerate(wants):
        _check_request_id(place, want.request_id)
        check_text(f"items[{place}].external_reference", want.external_reference)
        check_text(f"items[{place}].display_name", want.display_name)
    return wants


def accounts_wanted(request: account_pb2.OpenAccountsRequest) -> list[AccountWanted]:
    """Read the accounts to open. Raises `Malformed`."""
    check_count("items", len(request.items))
    opener = _opener(request)
    wants = [
        AccountWanted(
            *(item.request_id, item.customer_number, item.currency, item.external_reference, item.product_code),
            opener=opener,
        )
        for item in request.items
    ]
    for place, want in enumerate(wants):
        _check_request_id(place, want.request_id)
        check_text(f"items[{place}].external_reference", want.external_reference)
        check_text(f"items[{place}].product_code", want.product_code)
        if want.currency not in currencies.CODE_BY_NUMBER:
            raise errors.Malformed("CURRENCY_UNKNOWN", f"items[{place}].currency", "not an ISO 4217 number")
    return wants


def _opener(request: account_pb2.OpenCustomersRequest | account_pb2.OpenAccountsRequest) -> Opener:
    """Read who asks. Raises `Malformed`."""
    check_text("channel", request.channel)
    check_text("subject", request.subject)
    return Opener(request.channel, request.subject)


def reference_kind(request: account_pb2.FindReferencesRequest) -> Kind:
    """Read what references are to name. Raises `Malformed` (KIND_INVALID)."""
    kind = _KINDS.get(request.kind)
    if kind is None:
        raise errors.Malformed("KIND_INVALID", "kind", "either CUSTOMER or ACCOUNT")
    return kind


def bank_codes(request: account_pb2.RegisterPartnerBanksRequest) -> list[str]:
    """Read the partner banks to register. Raises `Malformed` (BANK_CODE_INVALID)."""
    for place, code in enumerate(request.bank_codes):
        check_text(f"bank_codes[{place}]", code)
        if not 1 <= len(code) <= limits.BANK_CODE_CHARACTERS_MAX:
            raise errors.Malformed(
                "BANK_CODE_INVALID", f"bank_codes[{place}]", f"1 to {limits.BANK_CODE_CHARACTERS_MAX} characters"
            )
    return list(request.bank_codes)


def directory(value: Directory) -> account_pb2.Directory:
    """Write the directory."""
    return account_pb2.Directory(
        version=value.version,
        shards=[
            account_pb2.Directory.Shard(
                shard_id=shard.shard_id,
                ledger_addresses=shard.ledger_addresses,
                customer_quota=shard.customer_quota,
                customer_count=shard.customer_count,
            )
            for shard in value.shards
        ],
        slots=[
            account_pb2.Directory.SlotRange(
                first_slot=span.first_slot, last_slot=span.last_slot, shard_id=span.shard_id, epoch=span.epoch
            )
            for span in value.slots
        ],
        partner_banks=[
            account_pb2.Directory.PartnerBank(bank_code=code, partner_number=number)
            for code, number in value.partner_numbers.items()
        ],
        currencies=value.currencies,
    )


def payment_file(request: account_pb2.RegisterPaymentFileRequest) -> PaymentFile:
    """Read a payment file to be registered. Raises `Malformed`."""
    for name in ("initiating_party", "message_id", "channel", "subject"):
        check_text(name, getattr(request, name))
    if not request.message_id or len(request.digest) != 32 or request.transfer_count < 0:
        raise errors.Malformed("PAYMENT_FILE_INVALID", "digest", "a message id, 32 bytes of digest, a count from 0 on")
    return PaymentFile(
        request.customer_number,
        request.initiating_party,
        request.message_id,
        request.digest,
        request.transfer_count,
        request.channel,
        request.subject,
    )


def customer(record: Customer) -> account_pb2.Customer:
    """Write a customer."""
    return account_pb2.Customer(
        customer_number=record.customer_number,
        external_reference=record.external_reference,
        display_name=record.display_name,
        create_time_us=record.create_time_us,
        request_id=record.request_id,
        **record.opener._asdict(),
    )


def account(record: Account) -> account_pb2.Account:
    """Write an account."""
    return account_pb2.Account(
        account_number=record.account_number,
        customer_number=record.customer_number,
        currency=record.currency,
        external_reference=record.external_reference,
        state=record.state,
        create_time_us=record.create_time_us,
        product_code=record.product.code,
        product_version=record.product.version,
        request_id=record.request_id,
        **record.opener._asdict(),
    )


def customers_opened(results: Iterable[Customer | Refusal]) -> account_pb2.OpenCustomersResponse:
    """Write what became of customers to open."""
    result = account_pb2.OpenCustomersResponse.Result
    return account_pb2.OpenCustomersResponse(
        results=[
            result(error=_place_error(value)) if isinstance(value, Refusal) else result(customer=customer(value))
            for value in results
        ]
    )


def accounts_opened(results: Iterable[Account | Refusal]) -> account_pb2.OpenAccountsResponse:
    """Write what became of accounts to open."""
    result = account_pb2.OpenAccountsResponse.Result
    return account_pb2.OpenAccountsResponse(
        results=[
            result(error=_place_error(value)) if isinstance(value, Refusal) else result(account=account(value))
            for value in results
        ]
    )


def customers(numbers: Sequence[int], found: Mapping[int, Customer]) -> account_pb2.GetCustomersResponse:
    """Write customers in the order asked for, an empty one where there is none."""
    empty = account_pb2.Customer()
    return account_pb2.GetCustomersResponse(
        customers=[customer(found[number]) if number in found else empty for number in numbers]
    )


def accounts(numbers: Sequence[int], found: Mapping[int, Account]) -> account_pb2.GetAccountsResponse:
    """Write accounts in the order asked for, an empty one where there is none."""
    empty = account_pb2.Account()
    return account_pb2.GetAccountsResponse(
        accounts=[account(found[number]) if number in found else empty for number in numbers]
    )


def accounts_listed(page: Sequence[Account] | None) -> account_pb2.ListAccountsResponse:
    """Write a page of a customer's accounts."""
    return account_pb2.ListAccountsResponse(found=page is not None, accounts=[account(record) for record in page or ()])


def partners_registered(nostro_accounts: Iterable[NostroAccount]) -> account_pb2.RegisterPartnerBanksResponse:
    """Write nostro accounts."""
    message = account_pb2.RegisterPartnerBanksResponse
    return message(nostro_accounts=[message.NostroAccount(**nostro._asdict()) for nostro in nostro_accounts])


def _place_error(refusal: Refusal) -> account_pb2.PlaceError:
    return account_pb2.PlaceError(reason=refusal, message=MESSAGES[refusal])


def _check_request_id(place: int, request_id: bytes) -> None:
    if len(request_id) != 16:
        raise errors.Malformed("UUID_INVALID", f"items[{place}].request_id", "not 16 bytes")


def check_text(field: str, text: str) -> None:
    """Raise `Malformed` (TEXT_INVALID) for what PostgreSQL cannot store."""
    if "\0" in text:
        raise errors.Malformed("TEXT_INVALID", field, "has a NUL character")
