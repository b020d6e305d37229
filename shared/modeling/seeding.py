"""Random numbers of a seed, which leave the global random state alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Within it torch draws what the seed says, on the CPU and on `device`; afterwards it goes on
    as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        yield
