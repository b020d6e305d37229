"""The requests and responses of every service, public and internal."""
