"""What chance allows: exact binomial tails."""

from math import exp, inf, lgamma, log, log1p

DOUBT = 1e-4  # 99.99 %


def is_fair(hits: int, total: int, share: float) -> bool:
    """Tell whether so many hits are within what a share (0 to 1) brings by chance in 99.99 % of all cases."""
    return total > 0 and 2 * tail(hits, total, share) > DOUBT


def tail(hits: int, total: int, share: float) -> float:
    """Return the probability of a count as far out as this one, on its own side."""
    below = sum(exp(_log_mass(k, total, share)) for k in range(hits + 1))
    above = sum(exp(_log_mass(k, total, share)) for k in range(hits, total + 1))
    return min(below, above, 1.0)


def _log_mass(hits: int, total: int, share: float) -> float:
    if share in (0.0, 1.0):
        return 0.0 if hits == total * share else -inf
    ways = lgamma(total + 1) - lgamma(hits + 1) - lgamma(total - hits + 1)
    return ways + hits * log(share) + (total - hits) * log1p(-share)
