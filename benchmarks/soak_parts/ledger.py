"""What was asked, what came back, and what the platform thereby promised to keep."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """failure: why the answer was not the documented success; None where it was."""

    kind: str
    began_s: float
    seconds: float
    failure: str | None


@dataclass(frozen=True)
class AcceptedEvent:
    event_id: str
    user_id: str
    item_id: str
    event_type: str


@dataclass(frozen=True)
class GivenList:
    """source, fallback: what ranked, and why it was not the ranker."""

    recommendation_id: str
    source: str
    fallback: str | None


@dataclass(frozen=True)
class Loss:
    """Something accepted that is not there, or not as it should be."""

    kind: str
    name: str
    cause: str


@dataclass
class Ledger:
    """Times are seconds since it was opened. live: (from when, bundle)."""

    opened: float = field(default_factory=time.monotonic)
    requests: list[Request] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    events: list[AcceptedEvent] = field(default_factory=list)
    lists: list[GivenList] = field(default_factory=list)
    live: list[tuple[float, str]] = field(default_factory=list)

    def now_s(self) -> float:
        return time.monotonic() - self.opened

    def saw_live(self, bundle: str) -> None:
        """This bundle is live now."""
        if not self.live or self.live[-1][1] != bundle:
            self.live.append((self.now_s(), bundle))
