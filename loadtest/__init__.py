"""Traffic for the bank: workload shapes, generators, the baseline benchmark and its money audit."""
