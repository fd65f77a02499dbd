"""`simfeed calibration`: how far the confidence of extracted values can be believed."""

from typing import Annotated

import msgspec
import typer

from app.analysis import calibration as cases
from app.analysis.confidence import WEIGHTS
from app.cli.common import Json, err, show_json, table

NAMES = ("constant", "found", "own", "overlap", "repeated", "agreement")
TALKS_LEAST, TALKS_MOST = 20, 10_000


def calibration(
    seed: Annotated[int, typer.Option("--seed", help="Of the talks that are made up.", min=0)] = cases.SEED,
    talks: Annotated[int, typer.Option("--talks", help="How many.", min=TALKS_LEAST, max=TALKS_MOST)] = cases.TALKS,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed calibration
      simfeed calibration --seed 8 --json

    How far the confidence of extracted values can be believed: fits its weights to made-up talks of known truth, and
    says by others how often it is right.
    """
    found = cases.shipped(seed, talks)
    if json:
        show_json({"seed": seed, "talks": talks, "shipped_weights": WEIGHTS, **msgspec.to_builtins(found)})
        return
    rows: list[tuple[object, ...]] = [
        (
            one.right.label,
            one.right.n,
            "" if one.confidence is None else f"{one.confidence:.3f}",
            "" if one.right.share is None else f"{one.right.share:.3f}",
            "" if one.right.low is None else f"{one.right.low:.3f}–{one.right.high:.3f}",
        )
        for one in found.table
    ]
    table(
        f"{found.n} values the weights were not fitted to, of {talks} talks",
        *("confidence", "values", "mean", "right", "95 %"),
        rows=rows,
        empty="",
    )
    fitted = "  ".join(f"{name} {weight:g}" for name, weight in zip(NAMES, found.weights, strict=True))
    err.print(f"Expected calibration error {found.error:.3f}; Brier score {found.brier:.3f}", end="", markup=False)
    err.print(f" ({found.brier_by_rate:.3f} by the overall share alone).", markup=False)
    err.print(f"Weights: {fitted}{'' if found.weights == WEIGHTS else ' (not those in use)'}", markup=False)
