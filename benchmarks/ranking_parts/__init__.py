"""The parts of `benchmarks.ranking`: made-up bundles, the ways to rank, the load, the report."""
