"""What the records of accounts must say about products, held against the catalogue, as pure rules.

Never here: who reads what (`audit_shard.py`, `audit.py`), the questions (`audit_products.sql`).
"""

from collections.abc import Mapping

from services.domain.identifiers import account_text
from services.ledger.audit_report import Evidence
from services.ledger.audit_rules import Snapshot, currency_text


def check_products(snapshot: Snapshot, published: Mapping[tuple[str, int], int], evidence: Evidence) -> None:
    """Accounts have only versions that are published (`published` gives their currencies), for accounts like them."""
    for use in snapshot.products:
        currency = published.get((use.code, use.version))
        name = f"account {account_text(use.account_number)} (one of {use.account_count}) has {use.code}/{use.version}"
        if currency is None:
            evidence.add("product_unpublished", snapshot.shard_id, f"{name}, which is not published")
        elif currency != use.currency:
            text = f"{name}, which is for {currency_text(currency)}, and holds {currency_text(use.currency)}"
            evidence.add("product_currency_differs", snapshot.shard_id, text)
