"""A made-up catalogue of some items in a folder, and settings that train on it in seconds."""

import numpy as np
import pytest

SETTINGS = """
encoders: {text: minilm, image: null}
collaborative: {epochs: 2, dimension: 8}
quantizer: {epochs: 2, hidden: 16, codebook_size: 4, levels: 2}
tiny: {hidden_size: 16, intermediate_size: 16, heads: 2, layers: 1}
ranker: {epochs: 1, max_history: 5}
tiger: {epochs: 1, dimension: 16, layers: 1, heads: 2, feedforward: 16}
"""
ITEMS, USERS = 15, 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / "items.jsonl").write_text(
        "".join(f'{{"item_id": "{i}", "title": "Thing number {i}"}}\n' for i in range(ITEMS))
    )
    lines = [
        f"{user},{item},{place}\n"
        for user in range(USERS)
        for place, item in enumerate(rng.permutation(ITEMS)[:6])
    ]
    (folder / "interactions.csv").write_text("user_id,item_id,position\n" + "".join(lines))
    (folder / "settings.yaml").write_text(SETTINGS)
    return folder
