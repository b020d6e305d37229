"""The platform on one machine: embedded servers and services as supervised processes."""
