"""Generated messages and stubs of the gateway service."""
