"""Whether a bundle's quality allows that users are served from it."""

from shared.database.tables import BundleRow
from shared.errors import GateFailedError


def require_passed_gates(row: BundleRow) -> None:
    """Raises GateFailedError, which names the gates that failed when the bundle was made."""
    failed = [gate for gate in row.manifest["metrics"].get("gates", []) if not gate["passed"]]
    if failed:
        causes = "; ".join(f"{gate['name']}: {gate['explanation']}" for gate in failed)
        raise GateFailedError(f"{row.version}: {causes}. With force it is taken all the same")
