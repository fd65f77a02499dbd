"""Figures against targets, and how they are shown."""

import os
import platform

import msgspec

from app.cli.common import table


class Verdict(msgspec.Struct):
    """One figure beside its target. `reached` is None when it could not be measured."""

    what: str
    figure: float | None
    most: float
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        return None if self.figure is None else self.figure <= self.most

    def plain(self) -> dict[str, object]:
        return {**msgspec.structs.asdict(self), "reached": self.reached}


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def machine() -> dict[str, object]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def show_verdicts(verdicts: list[Verdict]) -> None:
    words = {True: "reached", False: "MISSED", None: "not measured"}
    rows: list[tuple[object, ...]] = [
        (v.what, f"{number(v.figure)} {v.unit}".strip(), f"≤ {v.most:,g} {v.unit}".strip(), words[v.reached])
        for v in verdicts
    ]
    table("Targets", "figure", "measured", "target", "", rows=rows, empty="")
