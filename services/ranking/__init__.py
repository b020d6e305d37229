"""A history to a ranked list over the whole catalogue."""
