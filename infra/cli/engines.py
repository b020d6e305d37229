"""Which engine ranks: the option that names one, and a sentence about the one that serves."""

from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated

import httpx
import typer
from pydantic import TypeAdapter, ValidationError

from infra.cli.console import fail, say
from infra.local.state import StackDescription
from shared.contracts.common import BundleStatus, EngineChoice

TIMEOUT_S = 5.0
STATUSES = TypeAdapter(list[BundleStatus])


class Engine(StrEnum):
    AUTO = "auto"
    VLLM = "vllm"
    TRANSFORMERS = "transformers"


EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        help="What ranks. `auto`: vLLM on a GPU; on a CPU the faster one of those installed.",
        show_default="auto",
    ),
]


def require_installed(engine: Engine | None, command: str) -> None:
    """End the command where it is to rank with an engine that is not there."""
    if engine is Engine.VLLM and find_spec("vllm") is None:
        fail(f"vLLM is not installed: ./mmesid {command} --engine vllm installs it")


def say_engines(description: StackDescription) -> None:
    """Print which engine ranks for each catalogue, as far as the ranking service says."""
    choices = _choices(description.urls["ranking"])
    for catalog_id, choice in choices.items():
        place = f"{catalog_id}: " if len(choices) > 1 else ""
        say(place + in_words(choice))


def in_words(choice: EngineChoice) -> str:
    """A sentence such as: Ranked by vllm: it runs on a GPU."""
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in choice.requests_per_s.items())
    can_be_had = choice.name == "transformers" and "not installed" in choice.reason
    return (
        f"Ranked by {choice.name}: {choice.reason}"
        + (" (./mmesid demo --engine vllm installs it)" if can_be_had else "")
        + (f" (requests/s: {rates})" if rates else "")
    )


def _choices(ranking_url: str) -> dict[str, EngineChoice]:
    """Catalogue -> its engine; nothing where the service does not answer as expected."""
    try:
        with httpx.Client(trust_env=False, verify=False, timeout=TIMEOUT_S) as client:
            answer = client.get(f"{ranking_url}/bundles").raise_for_status()
        statuses = STATUSES.validate_json(answer.content)
    except (httpx.HTTPError, ValidationError):
        return {}
    return {one.catalog_id: one.engine for one in statuses if one.engine is not None}
