"""Vectors to semantic IDs, and the index of similar items."""
