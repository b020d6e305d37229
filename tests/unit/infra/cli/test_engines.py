"""The sentence about the engine that ranks."""

import pytest

from infra.cli.engines import in_words
from shared.contracts.common import EngineChoice


def test_the_reason_is_part_of_the_sentence():
    choice = EngineChoice(name="vllm", reason="it runs on a GPU")
    assert in_words(choice) == "Ranked by vllm: it runs on a GPU"


def test_an_engine_that_is_missing_comes_with_the_way_to_get_it():
    choice = EngineChoice(name="transformers", reason="vLLM is not installed")
    assert in_words(choice).endswith("(./mmesid demo --engine vllm installs it)")


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_measured_rates_of_both_are_shown(name):
    rates = {"transformers": 85.04, "vllm": 179.0}
    sentence = in_words(EngineChoice(name=name, reason="it was faster", requests_per_s=rates))
    assert sentence == (
        f"Ranked by {name}: it was faster (requests/s: transformers 85.0, vllm 179.0)"
    )
