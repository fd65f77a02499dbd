"""Where our CPU goes: what was running whenever some milliseconds of CPU had passed, by layer and by function."""

import dis
import linecache
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import msgspec

import app

EVERY_SECONDS = 0.002
"""CPU between two samples; kernels with slower ticks take fewer."""

TOP = 40
OURS = str(Path(app.__file__).parent) + "/"
JSON = "json (msgspec, json)"
LOOP = "asyncio, uvloop"
KERNEL = "the kernel: sockets, polling"
OTHER = "other"
PACKAGES = {
    "model client": ("openai", "httpx2", "httpcore2", "httpx_aiohttp", "aiohttp", "yarl", "multidict", "anyio"),
    "asyncpg": ("asyncpg",),
    LOOP: ("asyncio", "uvloop"),
    JSON: ("json", "msgspec"),
}
LAYERS = {package: layer for layer, packages in PACKAGES.items() for package in packages}


class Profile(msgspec.Struct):
    """Shares of our CPU, 0 to 1, the largest first. `functions` are those that ran themselves, as file:function."""

    samples: int
    layers: dict[str, float]
    functions: dict[str, float]


class Sampler:
    """Counts who runs, as often as the timer of this process's own CPU rings."""

    def __init__(self) -> None:
        self.layers: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def __call__(self, _: int, frame: FrameType | None) -> None:
        frame = ran(frame)
        self.layers[layer(frame)] += 1
        self.functions[named(frame.f_code) if frame else OTHER] += 1

    def profile(self, kernel: float) -> Profile:
        """What was counted, where the kernel had that share of the CPU."""
        total = self.layers.total()
        part = (1 - kernel) / (total or 1)
        layers = {name: n * part for name, n in self.layers.items()} | {KERNEL: kernel}
        ordered = dict(sorted(layers.items(), key=lambda item: -item[1]))
        return Profile(total, ordered, {name: n * part for name, n in self.functions.most_common(TOP)})


@contextmanager
def sampled(*, on: bool) -> Iterator[list[Profile]]:
    """Sample this process during the block, if it is on; the profile is in the list behind it."""
    found: list[Profile] = []
    if not on:
        yield found
        return
    sampler, before = Sampler(), os.times()
    previous = signal.signal(signal.SIGVTALRM, sampler)
    signal.setitimer(signal.ITIMER_VIRTUAL, EVERY_SECONDS, EVERY_SECONDS)
    try:
        yield found
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
    user, system = (after - begun for after, begun in zip(os.times()[:2], before[:2], strict=True))
    found.append(sampler.profile(system / ((user + system) or 1)))


def ran(frame: FrameType | None) -> FrameType | None:
    """The frame whose work it was: one that has only just been entered did none of it yet."""
    return frame.f_back if frame is not None and frame.f_lasti <= _entry(frame.f_code) else frame


@cache
def _entry(code: CodeType) -> int:
    return next((i.offset for i in dis.get_instructions(code) if i.opname == "RESUME"), -1)


def layer(frame: FrameType | None) -> str:
    """The layer of the innermost frame that is of one; helpers from elsewhere count as their caller's."""
    if frame is not None and _says_json(frame.f_code.co_filename, frame.f_lineno):
        return JSON
    while frame is not None:
        if found := layer_of(frame.f_code.co_filename):
            return found
        frame = frame.f_back
    return OTHER


@cache
def _says_json(file: str, line: int | None) -> bool:
    return line is not None and file.startswith(OURS) and "json." in linecache.getline(file, line)


@cache
def layer_of(file: str) -> str:
    """The layer a source file is of; none for helpers."""
    if file.startswith(OURS):
        head, _, rest = file.removeprefix(OURS).partition("/")
        return f"app/{head}" if rest else JSON if head == "strict_json.py" else "app, other"
    return LAYERS.get(_place(file)[0].removesuffix(".py"), "")


def _place(file: str) -> tuple[str, ...]:
    """The path of an interpreter's or dependency's file from its package on."""
    parts = Path(file).parts
    begins = [n for n, part in enumerate(parts) if part == "site-packages" or part.startswith("python3.")]
    return parts[begins[-1] + 1 :] if begins else parts[-1:]


@cache
def named(code: CodeType) -> str:
    """`app/llm/wire.py:RawModel.complete`, without what lies before the package."""
    file = code.co_filename
    path = f"app/{file.removeprefix(OURS)}" if file.startswith(OURS) else "/".join(_place(file))
    return f"{path}:{code.co_qualname}"
