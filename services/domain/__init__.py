"""Pure words that every room speaks: identifiers, money, outcomes, errors, limits, the directory.

Standard library only, no I/O, no clock, no chance. Never here: anything that knows gRPC,
PostgreSQL or a setting.
"""
