"""`python -m infra.cli`."""

from infra.cli import app

app(prog_name="mmesid")
