"""The command on a made-up shop, with both models."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from experiments.online_loop.__main__ import online_loop

SETTINGS = """
data: {core: 2}
encoders: {text: minilm, image: null}
collaborative: {epochs: 2, dimension: 8}
quantizer: {epochs: 2, hidden: 16, codebook_size: 4, levels: 2}
tiny: {hidden_size: 16, intermediate_size: 16, heads: 2, layers: 1}
ranker: {epochs: 1, max_history: 5}
"""
ITEMS, USERS, EACH = 15, 30, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / "items.jsonl").write_text(
        "".join(f'{{"item_id": "{i}", "title": "Thing number {i}"}}\n' for i in range(ITEMS))
    )
    lines = [
        # Users come one after the other, and each meets one item more than the one before.
        f"{user},{item},{10 * user + place}\n"
        for user in range(USERS)
        for place, item in enumerate(rng.permutation(min(ITEMS, EACH + user // 3))[:EACH])
    ]
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "".join(lines))
    (folder / "settings.yaml").write_text(SETTINGS)
    return folder


def invoke(folder, *options):
    app = typer.Typer()
    app.command()(online_loop)
    base = ["--data", str(folder), "--settings", str(folder / "settings.yaml")]
    return CliRunner().invoke(app, [*base, "--work", str(folder / "work"), *options])


@pytest.mark.parametrize(("model", "kept"), [("sasrec", ()), ("mmesid", ("sids_kept",))])
def test_the_loop_is_run_measured_and_drawn(folder, model, kept):
    result = invoke(folder, "--every", "12", "--model", model)
    assert result.exit_code == 0, result.output
    stem = folder / "work" / f"online-loop-{model}-shop"
    document = json.loads(stem.with_suffix(".json").read_text())
    assert document["events"] == USERS * EACH
    assert [one["events"] for one in document["slices"]] == [[144, 156], [156, 168], [168, 180]]
    for one in document["slices"]:
        assert list(one["curves"]) == ["frozen", "warm", "full"]
    first, *later = document["slices"]
    assert first["curves"]["frozen"] == first["curves"]["warm"] == first["curves"]["full"]
    for one in later:
        assert set(one["trainings"]["warm"]) == {"seconds", "cosine_kept", *kept}
    if kept:
        assert later[0]["trainings"]["warm"]["sids_kept"]["text"] == 1.0
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    markdown = stem.with_suffix(".md").read_text()
    assert markdown in result.stdout
    assert "| replayed before | slice | targets | users | new items | never retrained |" in markdown
    assert "| 24 | " in markdown
    assert "over never" in markdown
    assert not list((folder / "work").glob("rankers-*"))


def test_without_retraining_from_nothing_there_are_two_curves(folder):
    result = invoke(folder, "--every", "20", "--without-full")
    assert result.exit_code == 0, result.output
    document = json.loads((folder / "work" / "online-loop-sasrec-shop.json").read_text())
    assert all(list(one["curves"]) == ["frozen", "warm"] for one in document["slices"])
    assert "from nothing" not in result.stdout


def test_bad_input_ends_with_its_field_and_cause(folder, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("data: {sequences: some.txt}")
    result = invoke(folder, "--settings", str(settings))
    assert result.exit_code == 1
    assert "data.sequences: have no times" in result.stderr
