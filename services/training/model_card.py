"""The README of a bundle: what it is, from what, and how good."""

from collections.abc import Mapping
from typing import Any

from shared.artifacts.bundle import Manifest

SHOWN_METRICS = ("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20")


def model_card(manifest: Manifest) -> str:
    """Markdown."""
    dataset = manifest.dataset
    sections = [
        f"# Bundle {manifest.version} of catalogue {manifest.catalog_id}",
        f"Made {manifest.created_at:%Y-%m-%d %H:%M} UTC"
        + (f"; the live bundle then was {manifest.parent}." if manifest.parent else "."),
        "Multimodal semantic IDs (MM-RQ-VAE) and a ranker (LLM with LoRA, item encoder, fusion"
        " head) for this catalogue's items. Its semantic IDs mean nothing under another bundle.",
        "## Data\n",
        f"{dataset['items']} items, {dataset['users']} users, {dataset['interactions']}"
        f" interactions; {dataset['unknown_interactions']} interactions were with unknown items,"
        f" {dataset['short_sequences']} users had too few. The image or text of"
        f" {dataset['not_embedded']} items could not be embedded. SHA-256: `{dataset['sha256']}`.",
        "Encoders: "
        + ", ".join(f"{j.value} `{name}`" for j, name in manifest.encoders.items())
        + ". Estimated vectors: "
        + ", ".join(f"{number} {name}" for name, number in dataset["imputed"].items())
        + ".",
        "## Quality\n",
        "Leave-one-out, the whole catalogue ranked, on the test items.",
        _table("The history left out of the ranking", manifest.metrics, "masked"),
        _table("The history left in", manifest.metrics, "unmasked"),
        "## Gates\n",
        "\n".join(
            f"- {'passed' if gate['passed'] else 'FAILED'}: {gate['name']}: {gate['explanation']}"
            for gate in manifest.metrics["gates"]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _table(caption: str, metrics: Mapping[str, Any], history: str) -> str:
    lines = [
        f"{caption}:",
        "",
        f"| | {' | '.join(SHOWN_METRICS)} |",
        f"|---|{'---|' * len(SHOWN_METRICS)}",
    ]
    for model in ("popularity", "sasrec", "ranker"):
        figures = " | ".join(f"{metrics[model][history][name]:.4f}" for name in SHOWN_METRICS)
        lines.append(f"| {model} | {figures} |")
    return "\n".join(lines)
