"""What vLLM loads into its own processes: the ranker as one of its models.

The entry point `vllm.general_plugins` of this package names `register`.
"""

ARCHITECTURE = "MmesidRanker"


def register() -> None:
    """Let vLLM know the ranker by its architecture; its code is imported when it is asked for."""
    from vllm import ModelRegistry

    ModelRegistry.register_model(
        ARCHITECTURE, "services.ranking.vllm_plugin.model:RankerForPooling"
    )
