"""Traffic for the bank: mixes, generators, benchmark, profile, and the proof that the books are sound afterwards."""
