"""What is counted while the program runs, as Prometheus reads it: seconds, totals, labels of few values.

Counting here is for whoever watches: nothing in the program reads it. Each application has a registry of its own.
"""

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CALL_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LAG_SECONDS = 0.25
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one application. `actions` are the names that personas can act by; all others count as one."""

    def __init__(self, actions: Iterable[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        self._actions = frozenset(actions)
        self._http = Histogram(
            "simfeed_http_request_duration_seconds",
            "From the head of a request to the end of its answer, by method, route and class of the status.",
            ["method", "route", "status"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        turns = Counter("simfeed_turns", "Turns that ended here, by how.", ["status"], registry=registry)
        acts = Counter(
            "simfeed_actions", "Actions committed here, by what came of them.", ["name", "outcome"], registry=registry
        )
        calls = Counter("simfeed_llm_calls", "Model calls committed here.", ["status"], registry=registry)
        tokens = Counter("simfeed_llm_tokens", "Tokens of those calls.", ["direction"], registry=registry)
        self._prompt = tokens.labels("prompt")
        self._completion = tokens.labels("completion")
        self._cached = tokens.labels("cached")
        self._usd = Counter(
            "simfeed_llm_cost_usd", "US dollars of those calls, where prices are known.", registry=registry
        )
        self._call_seconds = Histogram(
            "simfeed_llm_call_duration_seconds", "How long those calls took.", buckets=CALL_BUCKETS, registry=registry
        )
        self._lag = Histogram(
            "simfeed_event_loop_lag_seconds",
            "How much later than asked for the event loop came round.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "simfeed_queue_depth", "Batches of turns that no process has taken yet, in the world.", registry=registry
        )
        self.alarms = Gauge(
            "simfeed_realism_alarms",
            "Monitors beyond a limit in the newest cycle, in the world.",
            ["level"],
            registry=registry,
        )
        for level in ("notice", "alarm"):
            self.alarms.labels(level)
        self._in_flight = Gauge("simfeed_turns_in_flight", "Turns that are under way here.", registry=registry)
        self._pool = Gauge(
            "simfeed_db_pool_connections", "Connections of this process's pool.", ["state"], registry=registry
        )
        self._clients = Gauge("simfeed_sse_clients", "Listeners of /events here.", registry=registry)
        Info("simfeed_build", "What runs here.", registry=registry).info(
            {"version": version("simfeed"), "python": platform.python_version()}
        )
        ProcessCollector(registry=registry)
        # The children are kept: finding one by its labels costs more than counting.
        self._turn = cache(turns.labels)
        self._action = cache(acts.labels)
        self._call = cache(calls.labels)
        self._request = cache(self._http.labels)

    def turn(self, status: str) -> None:
        """A turn has ended."""
        self._turn(status).inc()

    def action(self, name: str, outcome: str) -> None:
        """An action stands in the ledger."""
        self._action(name if name in self._actions else OTHER, outcome).inc()

    def call(
        self, status: str, *, prompt: int, completion: int, cached: int, usd: float | None, seconds: float
    ) -> None:
        """A model call stands in the ledger. `cached` tokens are part of the `prompt`."""
        self._call(status).inc()
        self._prompt.inc(prompt)
        self._completion.inc(completion)
        if cached:
            self._cached.inc(cached)
        if usd:
            self._usd.inc(usd)
        self._call_seconds.observe(seconds)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has been answered. `route` is its template."""
        self._request(method if method in METHODS else OTHER, route, f"{status // 100}xx").observe(seconds)

    def watch_turns(self, in_flight: Callable[[], float]) -> None:
        self._in_flight.set_function(in_flight)

    def watch_clients(self, number: Callable[[], float]) -> None:
        self._clients.set_function(number)

    def watch_pool(self, size: Callable[[], int], idle: Callable[[], int]) -> None:
        self._pool.labels("idle").set_function(idle)
        self._pool.labels("in_use").set_function(lambda: size() - idle())

    @asynccontextmanager
    async def watching_loop(self, every: float = LAG_SECONDS) -> AsyncIterator[None]:
        """Observe the event loop every so many seconds, until the end of the block."""
        task = asyncio.create_task(self._watch_loop(every), name="loop-lag")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch_loop(self, every: float) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(every)
            self._lag.observe(max(0.0, time.perf_counter() - began - every))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
