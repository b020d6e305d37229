"""`test`: the linters, the type checker, the import rules and all tests."""

import subprocess
import sys
from pathlib import Path

import typer

from infra.cli.console import say
from infra.local.state import CHECKOUT


def checks() -> dict[str, list[str]]:
    """The commands that must pass before the tests count, by name."""
    tools = Path(sys.executable).parent
    return {
        "ruff check": [sys.executable, "-m", "ruff", "check", "."],
        "ruff format": [sys.executable, "-m", "ruff", "format", "--check", "."],
        "mypy": [sys.executable, "-m", "mypy"],
        "import rules": [str(tools / "lint-imports")],
    }


def test(context: typer.Context) -> None:
    """Run every check and test; with arguments, only pytest with those arguments."""
    if not (CHECKOUT / "pyproject.toml").is_file():
        raise typer.BadParameter("tests run in a checkout, not in an installed package")
    failed = []
    if not context.args:
        for name, command in checks().items():
            say(f"== {name}")
            if _run(command) != 0:
                failed.append(name)
        say("== pytest")
    status = _run([sys.executable, "-m", "pytest", *context.args])
    if failed:
        print(f"mmesid: failed: {', '.join(failed)}", file=sys.stderr)
    raise typer.Exit(status or (1 if failed else 0))


def _run(command: list[str]) -> int:
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode
