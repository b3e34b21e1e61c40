"""Generated messages and stubs of the account service."""
