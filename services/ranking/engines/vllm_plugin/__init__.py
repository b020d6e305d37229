"""What vLLM loads into its own processes: the ranker as one of its models.

The entry point `vllm.general_plugins` of this package names `register`.
"""

from services.ranking.engines.vllm_plugin.tether import end_with_parent

ARCHITECTURE = "MmesidRanker"


def register() -> None:
    """Let vLLM know the ranker by its architecture; its code is imported when it is asked for.

    vLLM calls this in each of its processes, early.
    """
    from vllm import ModelRegistry

    end_with_parent()

    ModelRegistry.register_model(
        ARCHITECTURE, "services.ranking.engines.vllm_plugin.model:RankerForPooling"
    )
