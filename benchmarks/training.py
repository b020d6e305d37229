"""What a training run spends its time on: embedding, tokenizing, learning, publishing.

    python -m benchmarks.training
    python -m benchmarks.training --only publish --sizes 12000,100000,1000000
    MMESID_DATA_DIR=FOLDER python -m benchmarks.training --only embedding,ranker

Texts and sequences are those of `amazon-beauty` in `MMESID_DATA_DIR`, else made up. Pictures,
vectors and the published bundles are made up. docs/benchmarks.md says what is compared.
"""

import json as json_format
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.choices import words_of
from benchmarks.ranking_parts.machine import machine_line
from benchmarks.ranking_parts.made_up_bundle import NARROW, SMALL_PROFILE
from benchmarks.training_parts.embedding import (
    measure_pictures,
    measure_texts,
    pictures,
    texts_of,
)
from benchmarks.training_parts.learning import (
    made_up_sequences,
    measure_tokenizer,
    measure_training,
    some_users,
)
from benchmarks.training_parts.publish import Published, measure_publish
from benchmarks.training_parts.rate import Rate
from benchmarks.training_parts.report import publish_table, rates_table
from experiments.catalogue import read_catalogue
from experiments.settings import read_settings
from shared.modeling.sequences import Split
from shared.settings import EncoderSettings, load_settings

PARTS = ("embedding", "tokenizer", "ranker", "publish")
BEAUTY, BEAUTY_SETTINGS = "amazon-beauty", Path("experiments/beauty.yaml")
WIDTHS = {"narrow": NARROW, "small-profile": SMALL_PROFILE}


def main(
    only: Annotated[str, typer.Option(help=f"of: {', '.join(PARTS)}")] = ",".join(PARTS),
    texts: Annotated[int, typer.Option(min=1)] = 1000,
    images: Annotated[int, typer.Option(min=1)] = 200,
    items: Annotated[int, typer.Option(min=300, help="of tokenizer and ranker")] = 12_086,
    steps: Annotated[int, typer.Option(min=1, help="of the tokenizer")] = 100,
    users: Annotated[int, typer.Option(min=1, help="of ranker and SASRec")] = 2000,
    sizes: Annotated[str, typer.Option(help="of catalogues to publish")] = "12000,100000,1000000",
    widths: Annotated[str, typer.Option(help=f"of them: {', '.join(WIDTHS)}")] = "narrow",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    json: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    """Print a table a part."""
    chosen = words_of(only, PARTS)
    [width] = words_of(widths, tuple(WIDTHS))
    torch.set_num_threads(threads)
    print(f"{machine_line(threads)}\n", flush=True)
    measured: dict[str, Any] = {}
    if "embedding" in chosen:
        settings = EncoderSettings(device="cpu", threads=threads)
        data = _beauty()
        measured["texts"] = _show("Texts", measure_texts(texts_of(data, texts), settings))
        measured["pictures"] = _show("Pictures", measure_pictures(pictures(images), settings))
    if "tokenizer" in chosen:
        measured["tokenizer"] = _show("Tokenizer", measure_tokenizer(items, steps))
    if "ranker" in chosen:
        split, size = _sequences(items, users)
        measured["ranker"] = _show("Ranker", measure_training(split, size))
    if "publish" in chosen:
        published: list[Published] = []
        for catalogue in sorted(int(word) for word in sizes.split(",")):
            print(f"publish, {catalogue:,} items", file=sys.stderr, flush=True)
            published.append(measure_publish(catalogue, WIDTHS[width], threads=threads))
            print(f"{published[-1]}", file=sys.stderr, flush=True)
        print("## Publish\n", *publish_table(published), sep="\n", flush=True)
        measured["publish"] = [asdict(one) for one in published]
    if json is not None:
        json.write_text(json_format.dumps(measured, indent=2))


def _show(title: str, rates: list[Rate]) -> list[dict[str, Any]]:
    print(f"## {title}\n", *rates_table(rates), "", sep="\n", flush=True)
    return [{**asdict(rate), "per_second": rate.per_second} for rate in rates]


def _beauty() -> Path | None:
    """Its folder, where there is one."""
    folder = load_settings().data_dir
    if folder is None or not (folder / BEAUTY).is_dir():
        return None
    return folder / BEAUTY


def _sequences(items: int, users: int) -> tuple[Split, int]:
    """A part of the users, and how many items there are."""
    data = _beauty()
    if data is None:
        return some_users(made_up_sequences(items, users), users), items
    settings = read_settings(BEAUTY_SETTINGS)
    catalogue = read_catalogue(data, settings.data, lambda words: print(words, file=sys.stderr))
    return some_users(list(catalogue.sequences), users), len(catalogue.items)


if __name__ == "__main__":
    typer.run(main)
