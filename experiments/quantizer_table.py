"""The table `quantizers`: what each device of a quantizer does to the semantic IDs; nothing ranks.

Its rows are rankers as those of any table, of which only the quantizer is trained. The quantizers
are what is kept between calls; their figures are read off them anew, in seconds.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.cell import present
from experiments.ingredients import Ingredients
from experiments.markdown import markdown_table, mean_and_deviation
from experiments.method import Method
from shared.modeling.kendall import behavioural_target_distances, kendall_tau
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress
from shared.modeling.quantizer import Quantizer
from shared.modeling.residual_quantizer import code_statistics
from shared.modeling.sequences import Split
from shared.plots import bars_figure

QUANTIZERS = "quantizers"

# What a table shows of a modality, by its key in the results, with its digits.
COLUMNS = {
    "tau": ("Kendall's tau", 4),
    "usage": ("usage", 4),
    "dead_codes": ("dead codes", 1),
    "perplexity": ("perplexity", 1),
    "collision_rate": ("collisions", 4),
    "quantization_error": ("error of z", 4),
    "reconstruction_error": ("error of E_j", 4),
}

NOTE = (
    "Usage and perplexity are means over the levels, dead codes are counted over all of them."
    " Errors are squared, as shares of the variance. Collisions: items whose semantic ID another"
    " item has too."
)

# The figures of a quantizer, as JSON has them; and those of a row, one a seed.
Measured = Mapping[str, Any]
Row = Sequence[Measured]


def measure(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> Measured:
    """The figures of a row's quantizer for one seed, a modality and of the joint semantic ID."""
    embeddings = ingredients.embeddings(
        present(method, ingredients), method.collaborative, seed, on_progress
    )
    kept = ingredients.quantizer(embeddings, method.quantizer, seed, on_progress)
    codes = kept.thing.codes(embeddings)
    joint = torch.cat([codes[j] for j in embeddings], dim=1)
    return {
        "method": method.name,
        "seed": seed,
        "codebook_size": kept.thing.codebook_size,
        "modalities": modality_figures(kept.thing, embeddings, codes, ingredients.split),
        "joint_collision_rate": code_statistics(joint, kept.thing.codebook_size)["collision_rate"],
        "seconds": kept.seconds,
    }


def modality_figures(
    quantizer: Quantizer,
    embeddings: Mapping[Modality, Tensor],
    codes: Mapping[Modality, Tensor],
    split: Split,
) -> dict[str, dict[str, Any]]:
    """Of each modality `code_statistics`, and:

    tau: Kendall's, of the distances from E_j to its quantized embeddings (Eq. 9), between what
    users had in training and their validation targets. quantization_error: of z, and
    reconstruction_error: of E_j, squared errors over the variance. equal_items: share of the items
    whose E_j another item has too, and so the whole semantic ID.
    """
    histories, targets = split.validation_histories(), split.validation_target
    quantized, reconstructed = quantizer.quantized(codes), quantizer.reconstructed(codes)
    figures: dict[str, dict[str, Any]] = {}
    for j, table in embeddings.items():
        distances = behavioural_target_distances(table, histories, targets)
        after = behavioural_target_distances(quantized[j], histories, targets)
        with torch.inference_mode():
            z = quantizer.tower(j).encode(table)
        figures[j.value] = {
            "tau": kendall_tau(distances, after),
            **code_statistics(codes[j], quantizer.codebook_size),
            "quantization_error": relative_error(z, quantized[j]),
            "reconstruction_error": relative_error(table, reconstructed[j]),
            "equal_items": _equal_items(table),
        }
    return figures


def relative_error(table: Tensor, approximation: Tensor) -> float:
    """Squared error of [I, D] over the variance of the table: 1 is as good as its mean."""
    variance = (table - table.mean(dim=0)).square().sum().clamp(min=1e-12)
    return float((table - approximation).square().sum() / variance)


def _equal_items(table: Tensor) -> float:
    _, sharers = torch.unique(table, dim=0, return_counts=True)
    return float(sharers[sharers > 1].sum()) / len(table)


def quantizer_report(rows: Mapping[str, Row]) -> str:
    """A table a modality, and one of the joint semantic ID and what training took."""
    first = next(iter(rows.values()))[0]["modalities"]
    sections = [
        f"### {j}: {figures['equal_items']:.1%} of the items share their E_j with another\n\n"
        f"{_of_modality(rows, j)}"
        for j, figures in first.items()
    ]
    sections.append(f"### All modalities\n\n{_joint(rows)}")
    return "\n\n".join([*sections, NOTE]) + "\n"


def quantizer_figures(rows: Mapping[str, Row]) -> dict[str, Figure]:
    """Bars of tau and of collisions, one a row and modality, by the ending of their file's name."""
    return {
        "tau": _bars(rows, "tau", "Kendall's tau of the quantized embeddings"),
        "collisions": _bars(rows, "collision_rate", "items that share their semantic ID"),
    }


def _bars(rows: Mapping[str, Row], figure: str, quantity: str) -> Figure:
    series = {
        j: [[measured["modalities"][j][figure] for measured in row] for row in rows.values()]
        for j in next(iter(rows.values()))[0]["modalities"]
    }
    return bars_figure(list(rows), series, quantity)


def _of_modality(rows: Mapping[str, Row], modality: str) -> str:
    def value(measured: Measured, column: str) -> float:
        figure = measured["modalities"][modality][column]
        if not isinstance(figure, list):
            return float(figure)
        return float(sum(figure)) if column == "dead_codes" else float(mean(figure))

    return markdown_table(
        ["quantizer", *(head for head, _ in COLUMNS.values())],
        [
            [
                name,
                *(
                    mean_and_deviation([value(measured, column) for measured in row], digits)
                    for column, (_, digits) in COLUMNS.items()
                ),
            ]
            for name, row in rows.items()
        ],
    )


def _joint(rows: Mapping[str, Row]) -> str:
    return markdown_table(
        ["quantizer", "collisions of the joint SID", "codes a level", "training, s"],
        [
            [
                name,
                mean_and_deviation([measured["joint_collision_rate"] for measured in row]),
                str(row[0]["codebook_size"]),
                mean_and_deviation([measured["seconds"] for measured in row], 1),
            ]
            for name, row in rows.items()
        ],
    )
