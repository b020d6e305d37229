"""How far a share that was counted may be from the true one."""

from math import sqrt

from shared.contracts.admin import Rate

Z_95 = 1.959963984540054


def rate(successes: int, trials: int) -> Rate | None:
    """The share of successes with its 95 % Wilson interval; None without trials."""
    if trials == 0:
        return None
    share, z2 = successes / trials, Z_95**2
    centre = share + z2 / (2 * trials)
    half = Z_95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    whole = 1 + z2 / trials
    return Rate(
        value=share, low=max(0.0, (centre - half) / whole), high=min(1.0, (centre + half) / whole)
    )
