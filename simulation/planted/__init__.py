"""Bugs that are planted to prove that the simulation finds them, armed one at a time and only here.

Each replaces something at a seam of the services; the services themselves have no switches. Never here: real bugs
(`docs/reliability.md` lists those that were found).
"""

from simulation.planted import charging, crossing, meaning, mending, opening, ruling, sealing, spanning, writing
from simulation.planted.bug import BUGS, LATENT, Bug

__all__ = [
    "BUGS",
    "LATENT",
    "Bug",
    "charging",
    "crossing",
    "meaning",
    "mending",
    "opening",
    "ruling",
    "sealing",
    "spanning",
    "writing",
]
