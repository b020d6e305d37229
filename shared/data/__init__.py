"""Data sets: records, importers, filters, sequences and the synthetic shop. No torch here."""
