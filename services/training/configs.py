"""What a run trains with on this machine."""

import torch

from shared.contracts.admin import TrainingCreate
from shared.modeling.base_model import hidden_size
from shared.run_configs import RunConfigs, run_configs
from shared.settings import TrainingSettings


def configs_of(request: TrainingCreate, settings: TrainingSettings) -> RunConfigs:
    """The configs of a run.

    Raises:
        InvalidInputError: a name or value that no setting has; the field says which.
        UnavailableError: the base model cannot be had.
    """
    return run_configs(request, settings, device=_device(settings.device), hidden_size=hidden_size)


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
