"""The fusion head over the whole catalogue: product, filters, candidates, top-k."""
