"""Generated messages and stubs of the ledger service."""
