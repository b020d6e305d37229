"""What every stage of a run is given."""

from dataclasses import dataclass
from uuid import UUID

from services.training.lease import Lease
from services.training.resources import Resources
from services.training.work_folder import WorkFolder
from shared.contracts.admin import TrainingCreate
from shared.modeling.progress import OnProgress
from shared.run_configs import RunConfigs


@dataclass(frozen=True)
class StageContext:
    """One stage of one run.

    version: of the bundle that the run will publish.
    report: says how far the stage is; raises RunStoppedError where the run must stop.
    """

    catalog_id: str
    run_id: UUID
    version: str
    request: TrainingCreate
    configs: RunConfigs
    resources: Resources
    lease: Lease
    work: WorkFolder
    report: OnProgress
