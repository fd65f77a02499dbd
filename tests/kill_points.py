"""A worker that kills itself at a chosen moment: `python -m tests.kill_points POINT N [worker's arguments]`.

Points, each passed once a step or claim; the process gets SIGKILL when it passes the point for the N-th time:

after_claim    the turn is claimed, nothing has been asked
before_call    the request is made, not sent
before_commit  the reply is there, nothing of it is stored
after_commit   reply, record and effects are stored, the turn doesn't know yet
before_tell    the readings have been taken, the next request is not made
before_settle  all turns are at an end, the run is not
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from app.agent.turn import Turn
from app.cli import main
from app.ledger.commit import Committer
from app.venues import worker
from app.venues.worker import Worker

POINTS: dict[str, tuple[Any, str, bool]] = {
    "after_claim": (Worker, "_claim", False),
    "before_call": (Turn, "_request", False),
    "before_commit": (Committer, "commit", True),
    "after_commit": (Committer, "commit", False),
    "before_tell": (Turn, "_tell", True),
    "before_settle": (worker, "settle_run", True),
}


def arm(point: str, times: int) -> None:
    """Die when `point` is passed for the `times`-th time; a claim that finds nothing doesn't count."""
    owner, name, before = POINTS[point]
    inner: Callable[..., Any] = getattr(owner, name)
    left = times

    def passed(found: object = True) -> None:
        nonlocal left
        left -= found != []
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(inner)
    async def later(*given: Any, **more: Any) -> Any:
        if before:
            passed()
            return await inner(*given, **more)
        found = await inner(*given, **more)
        passed(found)
        return found

    @functools.wraps(inner)
    def at_once(*given: Any, **more: Any) -> Any:
        if before:
            passed()
            return inner(*given, **more)
        found = inner(*given, **more)
        passed()
        return found

    setattr(owner, name, at_once if name in ("_request", "_tell") else later)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["simfeed", "worker", *sys.argv[3:]]
    main()
