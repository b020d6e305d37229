"""The README of a bundle: what it is, from what, and how good."""

from collections.abc import Mapping
from typing import Any

from shared.artifacts.bundle import Manifest

SHOWN_METRICS = ("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20")

TABLES = {
    "collaborative": "E_c",
    "text": "E_t",
    "visual": "E_v",
    "input": "input embeddings",
    "target": "target items E_x",
    "fused": "target matrix E*",
    "codes_collaborative": "sums of collaborative codes",
    "codes_text": "sums of text codes",
    "codes_visual": "sums of visual codes",
}

# Files beside the README.
SPECTRA_PLOT = "spectra.png"
TAU_PLOT = "tau.png"


def model_card(manifest: Manifest) -> str:
    """Markdown."""
    dataset = manifest.dataset
    sections = [
        f"# Bundle {manifest.version} of catalogue {manifest.catalog_id}",
        f"Made {manifest.created_at:%Y-%m-%d %H:%M} UTC"
        + (f"; the live bundle then was {manifest.parent}." if manifest.parent else "."),
        "Multimodal semantic IDs and a ranker (LLM with LoRA, item encoder, fusion head) for this"
        " catalogue's items. Its semantic IDs mean nothing under another bundle.",
        "## Data\n",
        f"{dataset['items']} items, {dataset['users']} users, {dataset['interactions']}"
        f" interactions; {dataset['unknown_interactions']} interactions were with unknown items,"
        f" {dataset['short_sequences']} users had too few. {dataset['non_positive']} events were no"
        f" positives, {dataset['repeated']} repeated the one before. The image or text of"
        f" {dataset['not_embedded']} items could not be embedded. SHA-256: `{dataset['sha256']}`.",
        "Encoders: "
        + ", ".join(f"{j.value} `{name}`" for j, name in manifest.encoders.items())
        + ". Estimated vectors: "
        + ", ".join(f"{number} {name}" for name, number in dataset["imputed"].items())
        + ".",
        "## Start\n",
        _start(manifest.config["start"]),
        *_kept(manifest.metrics),
        "## Quality\n",
        "Leave-one-out, the whole catalogue ranked, on the test items.",
        _table("The history left out of the ranking", manifest.metrics, "masked"),
        _table("The history left in", manifest.metrics, "unmasked"),
        "## Semantic IDs\n",
        f"Quantizer: `{manifest.config['quantizer']['kind']}`.",
        _codes(manifest.metrics["semantic_ids"]),
        "## Forgetting\n",
        "How much of the order of distances between the items of a history and the next one"
        " the code embeddings keep: Kendall's tau, 1 being all of it.",
        _tau(manifest.metrics["semantic_ids"]),
        "## Collapse\n",
        "A dimension has collapsed where its singular value is less than a thousandth of the"
        " largest; of a table with fewer rows than dimensions the rest counts as collapsed too.",
        _collapse(manifest.metrics["collapsed"]),
        f"![Singular values of the tables]({SPECTRA_PLOT})",
        "## Gates\n",
        "\n".join(
            f"- {'passed' if gate['passed'] else 'FAILED'}: {gate['name']}: {gate['explanation']}"
            for gate in manifest.metrics["gates"]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _start(start: Mapping[str, Any]) -> str:
    if start["parent"] is None:
        return f"All weights started from nothing: {start['reason']}."
    treated = ", ".join(f"{stage} {treatment}" for stage, treatment in start["stages"].items())
    return f"From the weights of bundle {start['parent']}, as {start['reason']}: {treated}."


def _kept(metrics: Mapping[str, Any]) -> list[str]:
    """Nothing where no weights were taken over."""
    sentences: list[str] = []
    if "sids_kept" in metrics:
        shares = ", ".join(f"{j} {share:.1%}" for j, share in metrics["sids_kept"].items())
        sentences.append(f"Items of both bundles whose semantic ID is as it was: {shares}.")
    for j, cosine in metrics.get("cosine_kept", {}).items():
        sentences.append(f"Their {j} vectors before and after: cosine {cosine:.3f} on average.")
    return [" ".join(sentences)] if sentences else []


def _codes(figures: Mapping[str, Any]) -> str:
    lines = [
        "| | level | codes | in use | perplexity | dead | items that share their whole ID |",
        "|---|---|---|---|---|---|---|",
    ]
    for modality, of in figures.items():
        levels = zip(of["usage"], of["perplexity"], of["dead_codes"], strict=True)
        for level, (usage, perplexity, dead) in enumerate(levels, start=1):
            sharing = f"{of['collision_rate']:.1%}" if level == 1 else ""
            lines.append(
                f"| {modality if level == 1 else ''} | {level} | {of['size']} | {usage:.0%}"
                f" | {perplexity:.1f} | {dead:.0f} | {sharing} |"
            )
    return "\n".join(lines)


def _tau(figures: Mapping[str, Any]) -> str:
    lines = ["| | after quantization | after fine-tuning |", "|---|---|---|"]
    for modality, of in figures.items():
        taus = [of["kendall_tau"], of["kendall_tau_fine_tuned"]]
        shown = " | ".join("too few distances" if tau is None else f"{tau:.4f}" for tau in taus)
        lines.append(f"| {modality} | {shown} |")
    if any(of["kendall_tau"] is not None for of in figures.values()):
        lines += ["", f"![Kendall's tau]({TAU_PLOT})"]
    return "\n".join(lines)


def _collapse(collapsed: Mapping[str, float]) -> str:
    lines = ["| table | collapsed dimensions |", "|---|---|"]
    lines += [f"| {TABLES[name]} | {share:.1%} |" for name, share in collapsed.items()]
    return "\n".join(lines)


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
