"""The parts of `benchmarks.soak`: traffic, operator, ledger, the reckoning, the report."""
