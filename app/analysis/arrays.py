"""Arrays as measures take them: what is wrong with one is told by its name before anything is reckoned."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def floats(name: str, values: ArrayLike, *, least: float | None = None, most: float | None = None) -> Floats:
    """One row of finite numbers, shape (n,).

    Raises:
        ValueError: it is not one row, or a number is not finite, below `least` or above `most`.
    """
    made = np.asarray(values, dtype=np.float64)
    _row(name, made.shape)
    _all(name, np.isfinite(made), "must be finite")
    if least is not None:
        _all(name, made >= least, f"must be {least:g} or more")
    if most is not None:
        _all(name, made <= most, f"must be {most:g} or less")
    return made


def ints(name: str, values: ArrayLike, *, least: int = 0, below: int = 2**62) -> Ints:
    """One row of whole numbers from `least` to `below` - 1, shape (n,).

    Raises:
        ValueError: it is not one row, holds anything but whole numbers, or one out of these limits.
    """
    found = np.asarray(values)
    _row(name, found.shape)
    if found.size and found.dtype.kind not in "iu":
        raise ValueError(f"{name}: must be whole numbers, not {found.dtype}")
    _all(name, (found >= least) & (found < below), f"must be from {least} to {below - 1}")
    return found.astype(np.int64, copy=False)


def weights(values: ArrayLike | None, n: int) -> Floats:
    """The weights of `n` things, each 0 or more; all 1 for None.

    Raises:
        ValueError: one is not, or there are not `n`.
    """
    if values is None:
        return np.ones(n)
    made = floats("weight", values, least=0)
    alike(weight=made, others=np.empty(n))
    return made


def alike(**rows: NDArray[np.generic]) -> None:
    """
    Raises:
        ValueError: these are not equally long.
    """
    if len({len(row) for row in rows.values()}) > 1:
        told = ", ".join(f"{name} has {len(row)}" for name, row in rows.items())
        raise ValueError(f"must be equally long: {told}")


def summed(place: Ints, weight: Floats, n: int) -> Floats:
    """The sum of the weights at each of `n` places, shape (n,)."""
    return np.asarray(np.bincount(place, weight, n), np.float64)


def mean(values: Floats) -> float | None:
    """The mean of those that are no NaN; None where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _row(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 1:
        raise ValueError(f"{name}: must be one row of numbers, not an array of shape {shape}")


def _all(name: str, right: NDArray[np.bool_], wanted: str) -> None:
    if not right.all():
        raise ValueError(f"{name}: item {int(np.argmin(right)) + 1}: {wanted}")
