"""The results of several seeds as a Markdown table: mean ± standard deviation."""

from collections.abc import Sequence
from statistics import mean, stdev

from experiments.pipeline import MODELS, SeedResult
from shared.modeling.evaluation import Evaluation

COLUMNS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20")
VIEWS = ("masked", "unmasked")


def markdown_table(results: Sequence[SeedResult]) -> str:
    """The test metrics of each model with its history masked and not, and validation nDCG@10."""
    heads = ["model", "history", *COLUMNS, "validation ndcg@10"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for model in MODELS:
        for view in VIEWS:
            cells = [
                _cell([_value(result.test[model], view, name) for result in results])
                for name in COLUMNS
            ]
            validation = _cell(
                [_value(result.validation[model], view, "ndcg@10") for result in results]
            )
            lines.append(_row([model, view, *cells, validation]))
    return "\n".join(lines)


def _value(evaluation: Evaluation, view: str, name: str) -> float:
    metrics = evaluation.masked if view == "masked" else evaluation.unmasked
    return metrics[name]


def _cell(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{mean(values):.4f} ± {stdev(values):.4f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
