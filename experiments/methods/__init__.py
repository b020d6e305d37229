"""The baselines of Table 3 that share neither the ranker nor its item encoder."""
