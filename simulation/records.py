"""What the account service would have written about accounts and products before the simulation begins.

Never here: opening accounts in the books (`run.py`), what the service does with its records (`services/account`).
"""

import json
from collections.abc import Iterable

from google.protobuf import json_format
from hivecore.ledger.v1 import ledger_pb2

from services.account.opening import State
from services.chassis import catalogue_wire
from services.domain.products import Product, Reference, Standard
from simulation.database import Database
from simulation.statements.accounts import time_of


def publish(control: Database, products: Iterable[Product]) -> None:
    """Put products into the catalogue."""
    table = control.tables["control.product"]
    for product in products:
        body = json.dumps(json_format.MessageToDict(catalogue_wire.product(product)))
        row = {name: getattr(product, name) for name in ("code", "version", "currency", "kind")}
        table.insert(table.complete(row | {"body": body, "load_time": time_of(control.process.now_us())}))
    control.tables["control.catalogue"].rows[0]["version"] = 1


def put(database: Database, customer: int, number: int, currency: int, product: Reference) -> None:
    """Record an account, and its customer."""
    opened = {"create_time": time_of(database.process.now_us()), "external_reference": "", "state": State.ACTIVE}
    customers, accounts = database.tables["account.customer"], database.tables["account.account"]
    if customers.get(customer) is None:
        customers.insert(customers.complete({"customer_number": customer, "display_name": "Somebody"} | opened))
    account = {"account_number": number, "customer_number": customer, "currency": currency} | opened
    accounts.insert(accounts.complete(account | {"product_code": product.code, "product_version": product.version}))


def allowance(place: int, standard: Standard) -> ledger_pb2.Allowance:
    """Write the limits with which an account is opened."""
    given = {name: value for name, value in standard._asdict().items() if value is not None and name != "floor_minor"}
    return ledger_pb2.Allowance(place=place, **given)
