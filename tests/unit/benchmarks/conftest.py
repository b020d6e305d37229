from pathlib import Path

import pytest
import torch

from benchmarks.ranking_parts.made_up_bundle import write_made_up_bundle
from benchmarks.ranking_parts.shapes import shape_of
from shared.artifacts.bundle import Bundle

ITEMS = 150


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory):
    """A made-up bundle of the tiny shape."""
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("made-up") / "bundle"
    return write_made_up_bundle(folder, shape_of("tiny"), ITEMS)


@pytest.fixture(scope="session")
def bundle(made_up) -> Bundle:
    return made_up.bundle
