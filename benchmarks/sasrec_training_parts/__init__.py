"""The parts of `benchmarks.sasrec_training`: RecBole's files and process, the clock, the report."""
