import pytest

from benchmarks.training_parts.embedding import measure_pictures, measure_texts, pictures, texts_of
from shared.settings import EncoderSettings

SETTINGS = EncoderSettings(device="cpu", threads=1)


def least_cosine(rate) -> float:
    return float(rate.note.rsplit(" ", 1)[1])


def test_every_way_makes_the_same_vectors_of_texts():
    ours, *peers = measure_texts(texts_of(None, 5), SETTINGS)
    assert ours.count == 5
    assert len(peers) == 2
    for peer in peers:
        assert least_cosine(peer) == pytest.approx(1, abs=1e-3)


def test_every_way_makes_the_same_vectors_of_pictures():
    ours, peer = measure_pictures(pictures(3), SETTINGS)
    assert ours.count == peer.count == 3
    assert least_cosine(peer) == pytest.approx(1, abs=1e-3)
