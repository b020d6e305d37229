from datetime import UTC, datetime

import numpy as np
import pytest

from shared.artifacts.bundle import (
    Bundle,
    Catalogue,
    Manifest,
    open_bundle,
    write_catalogue,
    write_manifest,
    write_sids,
)
from shared.artifacts.store import ArtifactStore
from shared.errors import NotFoundError
from shared.modeling.modality import Modality
from shared.settings import ArtifactSettings

MANIFEST = Manifest(
    catalog_id="shop",
    version="20260131T101500-1a2b",
    created_at=datetime(2026, 1, 31, 10, 15, tzinfo=UTC),
    parent=None,
    dataset={"sha256": "00", "items": 3},
    encoders={Modality.TEXT: "text-1"},
    config={"seed": 0},
    metrics={"ranker": {"masked": {"ndcg@10": 0.5}}},
    libraries={"torch": "2"},
    files={"sids.parquet": "ff"},
)


def catalogue() -> Catalogue:
    generator = np.random.default_rng(0)
    return Catalogue(
        item_ids=["mug", "pot", "pan"],
        item_versions=np.array([1, 4, 2]),
        frequency=np.array([5, 0, 2]),
        input_table=generator.normal(size=(3, 8)).astype(np.float32),
        fused=generator.normal(size=(3, 8)).astype(np.float32),
        embeddings={
            Modality.COLLABORATIVE: generator.normal(size=(3, 4)).astype(np.float32),
            Modality.TEXT: generator.normal(size=(3, 6)).astype(np.float32),
        },
        imputed={
            Modality.COLLABORATIVE: np.array([False, True, False]),
            Modality.TEXT: np.zeros(3, dtype=bool),
        },
    )


def test_a_bundle_without_a_manifest_is_not_complete(tmp_path):
    write_catalogue(tmp_path, catalogue())
    with pytest.raises(NotFoundError, match="not complete"):
        Bundle(tmp_path)


def test_a_bundle_is_read_back_as_it_was_written(tmp_path):
    written = catalogue()
    codes = {
        Modality.TEXT: np.array([[0, 1], [2, 3], [4, 5]]),
        Modality.COLLABORATIVE: np.array([[9, 8], [7, 6], [5, 4]]),
    }
    write_catalogue(tmp_path, written)
    write_sids(tmp_path, written.item_ids, codes)
    write_manifest(tmp_path, MANIFEST)
    bundle = Bundle(tmp_path)
    assert bundle.manifest == MANIFEST
    read = bundle.catalogue
    assert read.item_ids == written.item_ids
    for name in ("item_versions", "frequency", "input_table", "fused"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    assert set(read.embeddings) == {Modality.COLLABORATIVE, Modality.TEXT}
    for modality in read.embeddings:
        assert np.array_equal(read.embeddings[modality], written.embeddings[modality])
        assert np.array_equal(read.imputed[modality], written.imputed[modality])
    sids = bundle.sids()
    assert all(np.array_equal(sids[modality], codes[modality]) for modality in codes)


def test_a_bundle_is_opened_from_the_store_once_its_manifest_is_there(tmp_path):
    store = ArtifactStore(ArtifactSettings(url=str(tmp_path / "store")))
    folder = tmp_path / "bundle"
    write_catalogue(folder, catalogue())
    store.upload_folder(folder, "shop/bundles/v1", last="manifest.json")
    with pytest.raises(NotFoundError, match="does not exist"):
        open_bundle(store, "shop", "v1")
    write_manifest(folder, MANIFEST)
    store.upload_folder(folder, "shop/bundles/v1", last="manifest.json")
    assert open_bundle(store, "shop", "v1").manifest.version == MANIFEST.version
    with pytest.raises(NotFoundError):
        open_bundle(store, "rival", "v1")
