"""How much is done in a world, and by how many. What there is nobody for is None."""

from numpy.typing import ArrayLike

from app.analysis.arrays import floats


def active_share(acts: ArrayLike) -> float | None:
    """The share of people that did anything.

    Args:
        acts: shape (people,), what each did, 0 or more.

    Raises:
        ValueError: one is negative or not finite.
    """
    x = floats("acts", acts, least=0)
    return float((x > 0).mean()) if x.size else None


def per_persona(acts: int, people: int) -> float | None:
    """Acts / people."""
    return acts / people if people else None
