"""How a process says that it cannot start as it was told; apart from `settings.py`, whose libraries not everybody needs.

Never here: what settings there are.
"""


class SettingsError(SystemExit):
    """The process cannot start like this; left alone, it ends the process with its sentence."""
