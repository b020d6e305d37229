"""What a soak is aimed at, and how hard and how long it presses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.settings import DatabaseSettings


@dataclass(frozen=True)
class Target:
    """A running platform with a live bundle. api_key: with every scope, of this catalogue."""

    gateway_url: str
    api_key: str
    database: DatabaseSettings
    catalog_id: str = "default"


@dataclass(frozen=True)
class Clients:
    """So many ask all the time: each waits for its answer, then for `pause_s`, then asks again."""

    number: int
    pause_s: float


@dataclass(frozen=True)
class Plan:
    """seconds: how long requests come. Where trainings take longer than that they go on coming, for
    `overtime_s` at most.

    training: the request of both retrainings, but for `start` and `go_live`.
    """

    seconds: float
    overtime_s: float
    training: Mapping[str, Any] = field(default_factory=dict)
    recommending: Clients = Clients(8, 0.1)
    posting_events: Clients = Clients(4, 0.2)
    posting_items: Clients = Clients(2, 1.0)
