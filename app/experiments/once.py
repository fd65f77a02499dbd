"""What is reckoned from rows alone is reckoned once for the same rows."""

from collections.abc import Callable
from typing import Any

import msgspec

from app.analysis.kept import Kept
from app.experiments.design import Experiment
from app.experiments.deviations import program

KEPT = Kept(32_000_000)
"""Results as JSON: statistics over many outcomes take seconds, and pages, plots and reports ask for the same ones."""


def once(reckon: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """What a function comes to that hangs on what it is given and the program alone: once for all who ask.

    Each caller has a copy of its own.
    """
    whole = [(one.model_dump_json(), program(one)) if isinstance(one, Experiment) else one for one in given]
    named = repr((reckon.__qualname__, whole)).encode("utf-8", "backslashreplace")
    found: dict[str, Any] = msgspec.json.decode(KEPT.of(named, lambda: msgspec.json.encode(reckon(*given))))
    return found
