"""What every part measures: how much was done in which time, by which way."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """unit: what `count` counts. note: what else is worth knowing of this way."""

    way: str
    unit: str
    count: int
    seconds: float
    note: str = ""

    @property
    def per_second(self) -> float:
        return self.count / self.seconds
