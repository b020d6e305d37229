import numpy as np
import pytest
from safetensors.numpy import save_file

from shared.artifacts.mapped_tensors import map_tensors
from shared.errors import UnavailableError

TENSORS = {
    "table": np.arange(12, dtype=np.float32).reshape(3, 4),
    "counts": np.array([3, 1, 2]),
    "flags": np.array([True, False, True]),
    "none": np.zeros((0, 4), dtype=np.float32),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path, metadata={"made": "here"})
    return path


def test_tensors_are_read_as_they_were_written(path):
    found = map_tensors(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert np.array_equal(found[name], tensor)


def test_what_is_written_stays_with_the_writer(path):
    mine, yours = map_tensors(path), map_tensors(path)
    mine["table"][1, 1] = -1
    assert mine["table"][1, 1] == -1
    assert np.array_equal(yours["table"], TENSORS["table"])
    assert np.array_equal(map_tensors(path)["table"], TENSORS["table"])


@pytest.mark.parametrize("kept", [0, 5, 20, -6])
def test_a_broken_file_is_named(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnavailableError, match=r"x\.safetensors"):
        map_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnavailableError, match=r"gone\.safetensors"):
        map_tensors(tmp_path / "gone.safetensors")
