"""Outcomes of costly pure functions, kept under a digest of all that they hang on, so that none is ever stale."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from threading import Lock


@dataclass
class Kept:
    """Up to `most` bytes of outcomes; what was not asked for longest goes first. Threads may share it."""

    most: int
    _found: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict, repr=False)
    _size: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def of(self, given: bytes, make: Callable[[], bytes]) -> bytes:
        """What `make` comes to; `given` must name everything that decides it: an equal one is not made again."""
        key = blake2b(given, digest_size=32).digest()
        with self._lock:
            if (known := self._found.get(key)) is not None:
                self._found.move_to_end(key)
                return known
        made = make()
        if len(made) <= self.most:
            with self._lock:
                self._size += len(made) - len(self._found.pop(key, b""))
                self._found[key] = made
                while self._size > self.most:
                    self._size -= len(self._found.popitem(last=False)[1])
        return made
