"""Holds as time passes and commands are repeated: expiry, first outcomes, limits of the day."""
