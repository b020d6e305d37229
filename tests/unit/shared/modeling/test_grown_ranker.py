"""A trained ranker over the same items in another order, and over more of them."""

import numpy as np
import pytest
import torch

from shared.modeling import imputation
from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.grown_ranker import grown_scorer
from shared.modeling.imputation import Content
from shared.modeling.inheritance import Inheritance
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.modeling.ranker import load_for_serving
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import build_ranker
from shared.modeling.rq_kmeans import train_rq_kmeans
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart
from shared.modeling.sequences import leave_one_out

C, T = Modality.COLLABORATIVE, Modality.TEXT
ITEMS, DIMENSION = 12, 16
FORMER = [f"item-{n}" for n in range(ITEMS)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    embeddings = {
        C: torch.randn(ITEMS, 5, generator=generator),
        T: torch.randn(ITEMS, 6, generator=generator),
    }
    quantizer = train_rq_kmeans(
        embeddings, RQKMeansConfig(dimension=DIMENSION, levels=2, codebook_size=4)
    )
    ranker = build_ranker(
        leave_one_out([(start + np.arange(6)) % ITEMS for start in range(ITEMS)]),
        ITEMS,
        embeddings,
        quantizer.codes(embeddings),
        {j: quantizer.code_embeddings(j) for j in quantizer.modalities},
        BaseSource(tiny=TinyLlama(hidden_size=DIMENSION, intermediate_size=8, layers=1, heads=1)),
        RankerConfig(),
    )
    sasrec = SASRec(ITEMS, SASRecConfig(dimension=4, feedforward=4))
    ranker.sequence_part = SequencePart.of(sasrec, sasrec.collaborative_embeddings(), 0.5)
    folder = tmp_path_factory.mktemp("ranker")
    ranker.eval().save(folder)
    return folder, quantizer, embeddings


def scorer(trained, items, text, **changes):
    folder, quantizer, _ = trained
    content = Content({T: text}, {T: torch.ones(len(items), dtype=torch.bool)})
    inheritance = Inheritance.between(FORMER, items, content)
    given = changes.get("given", {T: text})
    return grown_scorer(load_for_serving(folder), quantizer, inheritance, given)


def test_the_same_items_in_another_order_are_scored_as_before(trained):
    folder, _, embeddings = trained
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1))
    score = scorer(trained, [FORMER[row] for row in order], embeddings[T][order])
    place = torch.argsort(order).numpy()
    history = np.array([3, 8, 1])
    before = load_for_serving(folder).scorer()([history])
    torch.testing.assert_close(score([place[history]]), before[:, order], rtol=1e-4, atol=1e-4)


def test_a_later_item_is_read_and_ranked_like_the_one_it_is_like(trained, monkeypatch):
    """With g as it starts all parts weigh the same, so that q = 0 makes no difference."""
    monkeypatch.setattr(imputation, "DISTANCE", 1.0)
    _, _, embeddings = trained
    text = torch.cat([embeddings[T], embeddings[T][4:5]])
    likeness = torch.cat([torch.eye(ITEMS), torch.eye(ITEMS)[4:5]])
    score = scorer(trained, [*FORMER, "like 4"], likeness, given={T: text})
    read = score([np.array([3, 4]), np.array([3, 12])])
    torch.testing.assert_close(read[0], read[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(read[:, 4], read[:, 12], rtol=1e-3, atol=1e-3)


def test_vectors_of_other_encoders_are_not_needed(trained):
    text = torch.randn(ITEMS + 1, 9, generator=torch.Generator().manual_seed(2))
    score = scorer(trained, [*FORMER, "later"], text, given={})
    before = load_for_serving(trained[0]).scorer()([np.array([3, 8])])
    now = score([np.array([3, 8])])
    torch.testing.assert_close(now[:, :ITEMS], before, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(now).all()
