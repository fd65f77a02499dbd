"""Figures against targets, and how they are shown."""

import os
import platform

import msgspec

from app.cli.common import table


class Verdict(msgspec.Struct):
    """One figure beside its target: the `most` or the `least` it may be. `reached` is None when it was not measured."""

    what: str
    figure: float | None
    most: float | None = None
    unit: str = ""
    least: float | None = None

    @property
    def reached(self) -> bool | None:
        if self.figure is None:
            return None
        return (self.most is None or self.figure <= self.most) and (self.least is None or self.figure >= self.least)

    @property
    def target(self) -> str:
        bounds = (("≤", self.most), ("≥", self.least))
        return " and ".join(f"{sign} {bound:,g} {self.unit}".strip() for sign, bound in bounds if bound is not None)

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
        (v.what, f"{number(v.figure)} {v.unit}".strip(), v.target, words[v.reached]) for v in verdicts
    ]
    table("Targets", "figure", "measured", "target", "", rows=rows, empty="")
