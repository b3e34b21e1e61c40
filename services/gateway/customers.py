"""Customers, accounts and partner banks: what the public door asks of the account service.

Never here: money, or where things are kept.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import currencies, errors, identifiers, limits
from services.gateway import fields, ownership, routing, validation, wire
from services.gateway.authentication import Caller
from services.gateway.pages import PageTokens
from services.gateway.peers import AccountService
from services.gateway.statuses import Statuses

Record = TypeVar("Record")
Item = TypeVar("Item")

ANY_CUSTOMER: Final = "customers/-"
"""The name that asks for a customer by external reference."""

Restrictions: TypeAlias = Callable[[Sequence[int], float], Awaitable[Mapping[int, int]]]
"""Tells what the books forbid accounts, by a deadline; those that are not in the books are left out."""

_Reference: Final = account_pb2.FindReferencesRequest


class Customers:
    """Opens and finds customers and accounts. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(
        self,
        account_service: AccountService,
        directory: DirectoryCache,
        page_tokens: PageTokens,
        restrictions: Restrictions,
    ) -> None:
        self._account_service = account_service
        self._directory = directory
        self._page_tokens = page_tokens
        self._restrictions = restrictions

    async def open_customers(
        self,
        caller: Caller,
        messages: Sequence[bank_pb2.OpenCustomerRequest],
        paths: Callable[[int], str],
        deadline: float,
    ) -> list[bank_pb2.Customer | errors.BankError]:
        """Open customers: one result each."""
        items = [validation.read_customer_opening(message, paths(place)) for place, message in enumerate(messages)]

        async def send(good: list[account_pb2.OpenCustomersRequest.Item]) -> Sequence[Any]:
            request = account_pb2.OpenCustomersRequest(items=good, channel=caller.channel, subject=caller.subject)
            return list((await self._account_service.call("OpenCustomers", request, deadline)).results)

        return await _each(items, send, lambda result: wire.customer(result.customer))

    async def open_accounts(
        self,
        caller: Caller,
        messages: Sequence[bank_pb2.OpenAccountRequest],
        paths: Callable[[int], str],
        deadline: float,
    ) -> list[bank_pb2.Account | errors.BankError]:
        """Open accounts: one result each."""
        kept = self._directory.current.currencies
        items = [_for_caller(caller, message, paths(place), kept) for place, message in enumerate(messages)]

        async def send(good: list[account_pb2.OpenAccountsRequest.Item]) -> Sequence[Any]:
            request = account_pb2.OpenAccountsRequest(items=good, channel=caller.channel, subject=caller.subject)
            return list((await self._account_service.call("OpenAccounts", request, deadline)).results)

        return await _each(items, send, lambda result: wire.account(result.account))

    async def get_customer(
        self, caller: Caller, request: bank_pb2.GetCustomerRequest, deadline: float
    ) -> bank_pb2.Customer:
        """Return a customer, by name or by external reference."""
        if request.name == ANY_CUSTOMER:
            (reference,) = validation.read_references([request.external_reference], "external_reference")
            number = await self._find(_Reference.CUSTOMER, [reference], deadline, lambda found: found[0])
        else:
            number = fields.parse_customer_name(request.name)
        ownership.check_customer(caller, number)
        answer = None
        if number:
            asked = account_pb2.GetCustomersRequest(customer_numbers=[number])
            answer = (await self._account_service.call("GetCustomers", asked, deadline)).customers[0]
        if answer is None or not answer.customer_number:
            raise _customer_not_found()
        return wire.customer(answer)

    async def get_account(self, number: int, deadline: float) -> bank_pb2.Account:
        """Return an account that the caller may see."""
        (found,) = await self._accounts([number], deadline)
        if not found.account_number:
            raise routing.unknown_account(number)
        (shown,) = await self._shown([found], deadline)
        return shown

    async def find_accounts(self, references: Sequence[str], deadline: float) -> list[bank_pb2.Account]:
        """Return accounts by their external references; one without a name where there is none."""
        validation.check_count(
            len(references), limits.OPENINGS_PER_CALL_MAX, "EXTERNAL_REFERENCES_COUNT_INVALID", "external_references"
        )
        wanted = validation.read_references(references, "external_references")
        numbers = await self._find(_Reference.ACCOUNT, wanted, deadline, list)
        there = [number for number in numbers if number]
        records = await self._accounts(there, deadline) if there else ()
        shown = await self._shown(records, deadline)
        found = {record.account_number: account for record, account in zip(records, shown, strict=True)}
        return [found.get(number) or bank_pb2.Account() for number in numbers]

    async def list_accounts(
        self, caller: Caller, request: bank_pb2.ListAccountsRequest, deadline: float
    ) -> bank_pb2.ListAccountsResponse:
        """Return a page of a customer's accounts."""
        number = fields.parse_customer_name(request.parent, "parent")
        page_size = fields.read_page_size(request.page_size)
        query = ("ListAccounts", str(number), caller.subject)
        after = self._page_tokens.open(request.page_token, *query)
        ownership.check_customer(caller, number)
        asked = account_pb2.ListAccountsRequest(
            customer_number=number, after_account_number=after, limit=min(page_size + 1, limits.PAGE_SIZE_MAX)
        )
        answer = await self._account_service.call("ListAccounts", asked, deadline)
        if not answer.found:
            raise _customer_not_found()
        page = answer.accounts[:page_size]
        more = len(answer.accounts) == asked.limit
        return bank_pb2.ListAccountsResponse(
            accounts=await self._shown(page, deadline),
            next_page_token=self._page_tokens.seal(page[-1].account_number, *query) if more else "",
        )

    async def register_partner_banks(
        self, codes: Sequence[str], deadline: float
    ) -> bank_pb2.RegisterPartnerBanksResponse:
        """Open the nostro accounts of partner banks, and know the banks from here on."""
        request = account_pb2.RegisterPartnerBanksRequest(bank_codes=validation.read_bank_codes(codes))
        answer = await self._account_service.call("RegisterPartnerBanks", request, deadline)
        await self._directory.refresh(self._directory.current.version + 1)
        nostro = bank_pb2.RegisterPartnerBanksResponse.NostroAccount
        return bank_pb2.RegisterPartnerBanksResponse(
            nostro_accounts=[
                nostro(
                    bank_code=row.bank_code,
                    shard_id=row.shard_id,
                    currency_code=currencies.CODE_BY_NUMBER[row.currency],
                    account_number=identifiers.account_text(row.account_number),
                )
                for row in answer.nostro_accounts
            ]
        )

    async def register_payment_file(
        self, caller: Caller, file: bank_pb2.PaymentFile, deadline: float
    ) -> bank_pb2.PaymentFile:
        """Claim a payment file's message id for its content. Raises `Conflict` (MESSAGE_ID_REUSED)."""
        validation.check_payment_file(file)
        request = account_pb2.RegisterPaymentFileRequest(
            customer_number=caller.customer_number or 0,
            initiating_party=file.initiating_party,
            message_id=file.message_id,
            digest=file.digest,
            transfer_count=file.transfer_count,
            channel=caller.channel,
            subject=caller.subject,
        )
        answer = await self._account_service.call("RegisterPaymentFile", request, deadline)
        if not answer.is_same:
            raise errors.Conflict(
                "MESSAGE_ID_REUSED",
                f"message id {file.message_id} came with other content before",
                {"message_id": file.message_id},
            )
        registered = bank_pb2.PaymentFile()
        registered.CopyFrom(file)
        registered.create_time.FromMicroseconds(answer.create_time_us)
        return registered

    async def _find(
        self,
        kind: account_pb2.FindReferencesRequest.Kind.ValueType,
        references: list[str],
        deadline: float,
        read: Callable[[Sequence[int]], Item],
    ) -> Item:
        request = account_pb2.FindReferencesRequest(kind=kind, external_references=references)
        return read((await self._account_service.call("FindReferences", request, deadline)).numbers)

    async def _shown(self, records: Sequence[account_pb2.Account], deadline: float) -> list[bank_pb2.Account]:
        """Write accounts; those that are open, in the state of life that the books have."""
        is_open = bank_pb2.Account.ACTIVE
        numbers = [record.account_number for record in records if record.state == is_open]
        restrictions = await self._restrictions(numbers, deadline) if numbers else {}
        return [wire.account(record, restrictions.get(record.account_number)) for record in records]

    async def _accounts(self, numbers: list[int], deadline: float) -> Sequence[account_pb2.Account]:
        request = account_pb2.GetAccountsRequest(account_numbers=numbers)
        found: Sequence[account_pb2.Account] = (
            await self._account_service.call("GetAccounts", request, deadline)
        ).accounts
        return found


def _for_caller(
    caller: Caller, message: bank_pb2.OpenAccountRequest, path: str, kept: Sequence[int]
) -> account_pb2.OpenAccountsRequest.Item | errors.BankError:
    """Read an account to open; another customer's is refused, and a currency that the bank does not keep."""
    item = validation.read_account_opening(message, path)
    if isinstance(item, errors.BankError):
        return item
    if item.currency not in kept:
        code = currencies.CODE_BY_NUMBER[item.currency]
        return errors.Refused("CURRENCY_NOT_KEPT", f"this bank keeps no accounts in {code}", {"currency_code": code})
    try:
        ownership.check_customer(caller, item.customer_number)
    except errors.Forbidden as error:
        return error
    return item


async def _each(
    items: Sequence[Item | errors.BankError],
    send: Callable[[list[Item]], Any],
    read: Callable[[Any], Record],
) -> list[Record | errors.BankError]:
    """Send the items that are in order and put their results in their places."""
    good = [item for item in items if not isinstance(item, errors.BankError)]
    answers = iter(await send(good) if good else ())
    results: list[Record | errors.BankError] = []
    for item in items:
        if isinstance(item, errors.BankError):
            results.append(item)
            continue
        answer = next(answers)
        results.append(wire.opening_error(answer.error) if answer.HasField("error") else read(answer))
    assert next(answers, None) is None
    return results


def customers_opened(results: Sequence[bank_pb2.Customer | errors.BankError]) -> bank_pb2.OpenCustomersResponse:
    """Write what became of many customers to open."""
    result = bank_pb2.OpenCustomersResponse.Result
    statuses = Statuses()
    return bank_pb2.OpenCustomersResponse(
        results=[
            result(error=statuses.of(each)) if isinstance(each, errors.BankError) else result(customer=each)
            for each in results
        ]
    )


def accounts_opened(results: Sequence[bank_pb2.Account | errors.BankError]) -> bank_pb2.OpenAccountsResponse:
    """Write what became of many accounts to open."""
    result = bank_pb2.OpenAccountsResponse.Result
    statuses = Statuses()
    return bank_pb2.OpenAccountsResponse(
        results=[
            result(error=statuses.of(each)) if isinstance(each, errors.BankError) else result(account=each)
            for each in results
        ]
    )


def only(results: Sequence[Record | errors.BankError]) -> Record:
    """Return the one result, or raise it."""
    (result,) = results
    if isinstance(result, errors.BankError):
        raise result
    return result


def _customer_not_found() -> errors.NotFound:
    return errors.NotFound("CUSTOMER_NOT_FOUND", "there is no such customer")
