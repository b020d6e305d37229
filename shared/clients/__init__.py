"""Typed HTTP clients of the services."""
