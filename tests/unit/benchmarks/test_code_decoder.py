"""Beam search against the whole catalogue, each item's codes scored by a forward of their own."""

import numpy as np
import pytest
import torch

from benchmarks.ranking_parts.backbone import Backbone
from benchmarks.ranking_parts.code_decoder import CodeDecoder
from experiments.methods.trie import Trie

SIZE, LEVELS = 6, 4
HISTORIES = [np.array([3, 1, 4, 15, 92]), np.array([65]), np.array([35, 8, 97, 93, 23, 84, 62, 64])]


@pytest.fixture(scope="module")
def backbone(bundle):
    return Backbone.open(bundle, torch.device("cpu"))


@pytest.fixture(scope="module")
def codes(backbone):
    # Few codes, so that items share beginnings; all IDs are different.
    every = np.random.default_rng(0).permutation(SIZE**LEVELS)[: len(backbone.inputs)]
    return np.stack(np.unravel_index(every, (SIZE,) * LEVELS), axis=1)


@pytest.fixture(scope="module")
def table(backbone):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(LEVELS, SIZE, backbone.inputs.shape[1], generator=generator)


def decoder(backbone, codes, table, beam):
    return CodeDecoder(backbone, Trie(codes, SIZE, torch.device("cpu")), table, beam)


@torch.inference_mode()
def log_probability(backbone, table, history, own):
    """Of one item's codes, with neither cache nor batch."""
    prompt, _ = backbone.prompts([history])
    read = [table[level, code] for level, code in enumerate(own[:-1])]
    tokens = torch.stack([*prompt[0], *read]).unsqueeze(0)
    states = backbone.decoder(inputs_embeds=tokens, use_cache=False).last_hidden_state[0]
    steps = states[prompt.shape[1] - 1 :]
    return sum(
        torch.log_softmax(table[level] @ steps[level], dim=0)[code].item()
        for level, code in enumerate(own)
    )


def exhaustive(backbone, codes, table, history):
    """Unseen items by the log probability of their codes, best first."""
    scores = np.array([log_probability(backbone, table, history, own) for own in codes])
    scores[history] = -np.inf
    return np.argsort(-scores)[: len(codes) - len(history)]


def test_a_beam_of_the_catalogue_finds_the_order_of_exhaustive_scoring(backbone, codes, table):
    found = decoder(backbone, codes, table, beam=len(codes)).rank(HISTORIES)
    for rows, history in zip(found, HISTORIES, strict=True):
        assert rows.tolist() == exhaustive(backbone, codes, table, history).tolist()


def test_a_narrow_beam_gives_different_unseen_items(backbone, codes, table):
    found = decoder(backbone, codes, table, beam=20).rank(HISTORIES)
    for rows, history in zip(found, HISTORIES, strict=True):
        assert 0 < len(rows) <= 20
        assert len(set(rows.tolist())) == len(rows)
        assert not set(rows.tolist()) & set(history.tolist())
        assert set(rows.tolist()) <= set(range(len(codes)))


def test_the_best_item_of_a_beam_of_one_is_the_greedy_path(backbone, codes, table):
    [rows] = decoder(backbone, codes, table, beam=1).rank(HISTORIES[:1])
    found: list[int] = []
    for level in range(LEVELS):
        may_follow = {own[level] for own in codes.tolist() if own[:level] == found}
        best = max(
            may_follow,
            key=lambda code: log_probability(backbone, table, HISTORIES[0], [*found, code]),
        )
        found.append(best)
    assert codes[rows[0]].tolist() == found


def test_a_request_does_not_depend_on_those_beside_it(backbone, codes, table):
    searcher = decoder(backbone, codes, table, beam=20)
    together = searcher.rank(HISTORIES)
    for rows, history in zip(together, HISTORIES, strict=True):
        assert searcher.rank([history])[0].tolist() == rows.tolist()


def test_items_that_share_an_id_come_together_without_those_seen(backbone, codes, table):
    same = codes.copy()
    same[7] = same[8] = same[3]  # 3 is in the first history
    [rows] = decoder(backbone, same, table, beam=len(same)).rank(HISTORIES[:1])
    places = {row: place for place, row in enumerate(rows.tolist())}
    assert abs(places[7] - places[8]) == 1
    assert 3 not in places


def test_it_opens_from_a_bundle(bundle):
    [rows] = CodeDecoder.open(bundle, torch.device("cpu")).rank(HISTORIES[:1])
    assert len(set(rows.tolist())) == len(rows) == 20
