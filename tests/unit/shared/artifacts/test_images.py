import hashlib

import pytest

from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.errors import NotFoundError
from shared.settings import ArtifactSettings


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(ArtifactSettings(url=str(tmp_path)))


def test_an_image_is_found_by_the_hash_of_its_bytes_and_stored_once(store, tmp_path):
    images = ImageStore(store, "shop")
    sha256 = images.put(b"picture")
    assert sha256 == hashlib.sha256(b"picture").hexdigest()
    assert images.put(b"picture") == sha256
    assert images.get(sha256) == b"picture"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_images_of_another_catalogue_are_out_of_reach(store):
    sha256 = ImageStore(store, "shop").put(b"picture")
    with pytest.raises(NotFoundError):
        ImageStore(store, "rival").get(sha256)
