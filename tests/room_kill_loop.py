"""Servers killed with SIGKILL over and over while people and agents talk: nothing may be lost, doubled or out of order.

By hand: `python -m tests.room_kill_loop --kills 20 --rooms 50`. People talk over the real wire, connect again by the
last position they know, and send again what was not acknowledged; so no process of ours is trusted to say what came.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from app.db import embedded, migrate
from app.db.engine import Database
from app.world import rooms
from tests.chat import PACE, cast, talks
from tests.conftest import BOOTSTRAP, SECRET
from tests.fault_llm import serving

ROOT = Path(__file__).parents[1]
SERVE = """
import sys, uvicorn
from app.main import create_app
from app.web.server import options
uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), **options())
"""
LOST = (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError)
QUIET_SECONDS = 60.0


@dataclass
class Process:
    """The whole application in a process of its own, on the same port each time."""

    url: str
    base_url: str
    more: dict[str, str] = field(default_factory=dict)
    port: int = 0
    child: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *, ready: bool = False) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.url,
            "SECRET_KEY": SECRET,
            "BOOTSTRAP_TOKEN": BOOTSTRAP,
            "SCHEDULER_ENABLED": "false",
            "RATE_LIMIT_PER_MINUTE": "0",
            "SIMFEED_MODEL": "any",
            "MODEL_TRANSPORT": "raw",
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": "k",
            "LOG_LEVEL": "error",
            **self.more,
        }
        self.child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, str(self.port), env=env, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
        )
        while ready:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            assert self.child.returncode is None, "it did not start"
            await asyncio.sleep(0.05)

    async def end(self, how: signal.Signals) -> int:
        assert self.child is not None
        if self.child.returncode is None:
            self.child.send_signal(how)
        return await self.child.wait()


@dataclass
class Talker:
    """A room's person, who never gives up."""

    key: str
    names: list[str]
    chance: random.Random
    pause: tuple[float, float]
    told: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    answered: float = 0.0
    """When an agent was heard last, by the monotonic clock."""

    visits: int = 0
    talks: bool = True
    _unacknowledged: dict[str, str] = field(default_factory=dict)

    async def live(self, address: str) -> None:
        """Connect, talk and read until `talks` is over and all is acknowledged; connect again when cut off."""
        while True:
            since = self.positions[-1] if self.positions else 0
            url = f"{address.replace('http', 'ws', 1)}/ws/{self.key}?extras=1&since={since}"
            with suppress(*LOST):
                async with connect(url, proxy=None, compression=None, open_timeout=5, close_timeout=1) as connection:
                    self.visits += 1
                    for number, text in list(self._unacknowledged.items()):
                        await self._send(connection, number, text)
                    talking = asyncio.create_task(self._talk(connection))
                    try:
                        await self._read(connection)
                    finally:
                        talking.cancel()
                        await asyncio.gather(talking, return_exceptions=True)
            await asyncio.sleep(0.1)

    async def _talk(self, connection: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(*self.pause))
            if self.talks:
                number = f"n{len(self.acknowledged) + len(self._unacknowledged)}"
                self._unacknowledged[number] = f"@{self.chance.choice(self.names)} number {number}?"
                await self._send(connection, number, self._unacknowledged[number])

    async def _send(self, connection: ClientConnection, number: str, text: str) -> None:
        await connection.send(json.dumps({"type": "user_message", "content": text, "client_id": number}))

    async def _read(self, connection: ClientConnection) -> None:
        async for frame in connection:
            told = msgspec.json.decode(frame)
            if told.get("event_type") in ("hello", "error"):
                continue
            self.positions.append(told["position"])
            if "event_type" in told:
                continue
            self.told.append(told["message_id"])
            if told.get("own"):
                if self._unacknowledged.pop(told["client_id"], None) is not None:
                    self.acknowledged.append(told["client_id"])
            else:
                self.answered = time.monotonic()

    @property
    def settled(self) -> bool:
        return not self._unacknowledged


@dataclass
class Outcome:
    """What a loop came to; from `lost` on all must be 0. `resumed`: from a kill until every room heard an agent."""

    kills: int = 0
    rooms: int = 0
    seconds: float = 0.0
    messages: int = 0
    acknowledged: int = 0
    visits: int = 0
    resumed: list[float] = field(default_factory=list)
    driven: list[float] = field(default_factory=list)

    lost: int = 0
    doubled: int = 0
    differing: int = 0
    gaps: int = 0
    told_twice: int = 0
    unanswered: int = 0
    open: int = 0

    @property
    def faults(self) -> int:
        return self.lost + self.doubled + self.differing + self.gaps + self.told_twice + self.unanswered + self.open


async def loop(
    url: str,
    *,
    kills: int,
    rooms_: int,
    agents: int = 3,
    seed: int = 7,
    pause: tuple[float, float] = (1.0, 3.0),
    think: float = 0.2,
    life: tuple[float, float] = (0.5, 3.0),
    talk: bool = False,
) -> Outcome:
    """Kill the server so many times, each when all rooms have gone on since the last; let all end, and count."""
    chance, began = random.Random(seed), time.monotonic()
    database = await Database.open(url, size=4)
    outcome = Outcome(rooms=rooms_)
    members = await cast(database, *(f"Agent{n}" for n in range(agents)))
    keys = [await _open(database, members, n) for n in range(rooms_)]
    names = [name for _, name in members]
    talkers = [Talker(key, names, random.Random(seed + n), pause) for n, key in enumerate(keys)]
    async with serving(talks(think=think)) as endpoint:
        server = Process(url, endpoint.url)
        await server.start(ready=True)
        living = [asyncio.create_task(talker.live(server.address)) for talker in talkers]
        try:
            await _heard(talkers, began, 60)
            while outcome.kills < kills:
                await asyncio.sleep(chance.uniform(*life))
                epochs = dict(await database.fetch("SELECT id, epoch FROM rooms"))
                await server.end(signal.SIGKILL)
                killed = time.monotonic()
                await server.start()
                watching = asyncio.create_task(_driven(database, epochs, killed))
                outcome.resumed.append(await _heard(talkers, killed, 60))
                outcome.driven.append(await watching)
                outcome.kills += 1
                if talk:
                    sys.stderr.write(f"\rkill {outcome.kills}: all heard after {outcome.resumed[-1]:.1f} s ")
            for talker in talkers:
                talker.talks = False
            await _quiet(database, talkers)
        finally:
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)
            await server.end(signal.SIGTERM)
    outcome.seconds = time.monotonic() - began
    await _count(database, talkers, outcome)
    await database.close()
    return outcome


async def _open(database: Database, members: list[tuple[int | None, str]], seed: int) -> str:
    key = rooms.new_key()
    pace = {**PACE, "session_duration_minutes": 120, "llm_concurrency_limit": 64}
    async with database.connection() as connection, connection.transaction():
        await rooms.open_room(
            connection, key=key, seed=seed, study_id=None, participant_id=None, arm="", pace=pace,
            settings={"model": "any"}, members=members,
        )  # fmt: skip
    return key


async def _heard(talkers: list[Talker], since: float, most: float) -> float:
    """Seconds from `since` until every room's person has heard an agent again."""
    while not all(talker.answered > since for talker in talkers):
        assert time.monotonic() - since < most, f"{sum(t.answered <= since for t in talkers)} rooms did not go on"
        await asyncio.sleep(0.02)
    return max(talker.answered for talker in talkers) - since


async def _driven(database: Database, epochs: dict[int, int], since: float) -> float:
    """Seconds from `since` until somebody drives every room in a new epoch."""
    while True:
        now = dict(await database.fetch("SELECT id, epoch FROM rooms"))
        if all(now[room] > epoch for room, epoch in epochs.items()):
            return time.monotonic() - since
        await asyncio.sleep(0.05)


OPEN = """
    SELECT (SELECT count(*) FROM turns WHERE state IN ('queued', 'running'))
         + (SELECT count(*) FROM room_drafts WHERE state = 'typing') + (UNANSWERED)
"""
UNANSWERED = """
    SELECT count(*) FROM room_messages m JOIN rooms r ON r.id = m.room_id
    WHERE m.member = 0 AND NOT EXISTS (
        SELECT FROM room_goes g JOIN room_messages a ON a.turn_id = g.turn_id
        WHERE g.room_id = m.room_id AND g.number = m.number
    )
"""


async def _quiet(database: Database, talkers: list[Talker]) -> None:
    """Wait until all is acknowledged, answered and told."""
    with suppress(TimeoutError):
        async with asyncio.timeout(QUIET_SECONDS):
            while not all(talker.settled for talker in talkers):
                await asyncio.sleep(0.1)
            while await database.fetchval(OPEN.replace("UNANSWERED", UNANSWERED)):
                await asyncio.sleep(0.2)
            counts = {
                row["key"]: row["events_count"] for row in await database.fetch("SELECT key, events_count FROM rooms")
            }
            while any(talker.positions[-1] < counts[talker.key] for talker in talkers):
                await asyncio.sleep(0.1)


async def _count(database: Database, talkers: list[Talker], outcome: Outcome) -> None:
    rows = await database.fetch(
        "SELECT r.key AS room, m.key, m.client_id FROM room_messages m JOIN rooms r ON r.id = m.room_id "
        "ORDER BY m.room_id, m.number"
    )
    for talker in talkers:
        there = [row for row in rows if row["room"] == talker.key]
        written = [row["key"] for row in there]
        sent = {row["client_id"] for row in there} - {None}
        outcome.lost += len(set(talker.acknowledged) - sent) + len(set(written) - set(talker.told))
        outcome.doubled += len(talker.told) - len(set(talker.told))
        outcome.differing += talker.told != written
        outcome.acknowledged += len(talker.acknowledged)
        outcome.visits += talker.visits
        outcome.gaps += talker.positions != list(range(1, len(talker.positions) + 1))
    outcome.messages = len(rows)
    outcome.gaps += await gaps(database)
    outcome.told_twice = await database.fetchval(TOLD_TWICE)
    outcome.unanswered = await database.fetchval(UNANSWERED)
    outcome.open = await database.fetchval("SELECT count(*) FROM turns WHERE state NOT IN ('done', 'limit')")


GAPS = """
    SELECT count(*) FROM rooms r
    JOIN LATERAL (SELECT count(*) AS n, max(number) AS most FROM room_messages WHERE room_id = r.id) m ON true
    JOIN LATERAL (
        SELECT count(*) AS n, max(position) AS most,
               array_agg(number ORDER BY position) FILTER (WHERE kind = 'message') AS told,
               array_agg(number ORDER BY number) FILTER (WHERE kind = 'message') AS numbers
        FROM room_events WHERE room_id = r.id
    ) e ON true
    WHERE m.n <> r.messages_count OR m.most <> m.n OR e.n <> r.events_count OR e.most <> e.n
       OR e.told <> e.numbers OR cardinality(e.told) <> m.n
"""
TOLD_TWICE = """
    SELECT count(*) FROM (
        SELECT FROM room_messages WHERE turn_id IS NOT NULL GROUP BY turn_id HAVING count(*) > 1
    ) twice
"""


async def gaps(database: Database) -> int:
    """Rooms in which a number or position is missing, told out of order, or not counted."""
    return int(await database.fetchval(GAPS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--think", type=float, default=0.2, help="seconds the model thinks")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with embedded.throwaway(base=base) as server:
        url = server.url("postgres")

        async def work() -> Outcome:
            await migrate.upgrade(url)
            return await loop(
                url, kills=given.kills, rooms_=given.rooms, agents=given.agents, think=given.think, seed=given.seed,
                talk=True,
            )  # fmt: skip

        outcome = asyncio.run(work())
    for what, value in asdict(outcome).items():
        shown = " ".join(f"{one:.1f}" for one in value) if isinstance(value, list) else value
        sys.stdout.write(f"{what:14} {shown}\n")
    sys.exit(1 if outcome.faults or max(outcome.resumed, default=0) > 10 else 0)


if __name__ == "__main__":
    main()
