"""The training service: the Celery worker that makes bundles, and the relay of the outbox."""
