"""How many calls may be under way at once: one at first, one more for each answer, half as many after a failure."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False, slots=True)
class Slot:
    """A call under way: the how-manieth it is, and the tokens that were estimated for it."""

    number: int
    tokens: int


class Window:
    """The calls under way to one provider. A restart begins again at one, beside those that are still under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 1
        self._under_way = 0
        self._fresh = 0
        self._entered = 0
        self._restarted = 0
        self._halved = 0

    def has_room(self, *, alone: bool = False) -> bool:
        """Whether one more may begin; `alone`: only if none has since the last restart."""
        return self._fresh < (1 if alone else self._size) and self._under_way < self._most

    def enter(self, tokens: int) -> Slot:
        self._entered += 1
        self._under_way += 1
        self._fresh += 1
        return Slot(self._entered, tokens)

    def leave(self, slot: Slot) -> bool:
        """Whether the call began after the last restart."""
        self._under_way -= 1
        fresh = slot.number > self._restarted
        self._fresh -= fresh
        return fresh

    def grow(self) -> None:
        self._size = min(self._most, self._size + 1)

    def shrink(self, slot: Slot) -> None:
        """Halve it, once for all the calls that were under way together."""
        if slot.number > self._halved:
            self._halved = self._entered
            self._size = max(1, self._size // 2)

    def restart(self) -> None:
        self._size, self._fresh = 1, 0
        self._restarted = self._halved = self._entered
