"""The bank's rooms: domain, chassis, ledger, account, gateway, cli.

Imports run one way: cli > gateway | ledger | account (strangers to each other) > chassis > domain.
"""
