"""Every model by its name: the offline one, or a provider's behind its wrappers, in the order given here."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TypedDict

from app.errors import Misconfigured
from app.ledger.pulse import Pulse
from app.llm.admission import Admitted, Gate
from app.llm.fallback import Fallback
from app.llm.local import LocalModel, require
from app.llm.model import Completion, Halted, Model, Request, Usage
from app.llm.pricing import (
    CUSTOM,
    FREE,
    LOCAL,
    OFFLINE,
    SCRIPTED,
    Price,
    Priced,
    charge,
    own_prices,
    price,
    providers,
    split,
)
from app.llm.rate_limit import RateLimit
from app.llm.retry import Retrying
from app.llm.scripted import ScriptedModel
from app.llm.window import Window
from app.settings import Settings


class Connection(TypedDict):
    """What either transport is made with; `timeout` is in seconds."""

    base_url: str
    api_key: str
    timeout: float
    connections: int


@dataclass(frozen=True)
class Endpoint:
    """Where a model is reached. `key` may be empty."""

    provider: str
    name: str
    base_url: str
    key: str


def endpoint(settings: Settings, model: str) -> Endpoint:
    """Where `model` is reached under these settings.

    Raises:
        Misconfigured: no provider is known for it, or its key is missing.
    """
    provider, name = split(model)
    if provider in (CUSTOM, "openai") and settings.openai_base_url:
        return Endpoint(CUSTOM, name, settings.openai_base_url, _key(settings, "OPENAI_API_KEY"))
    if provider == CUSTOM:
        raise Misconfigured(
            f"no provider is known for the model {model!r}: name one, as in ollama/{model}, or set OPENAI_BASE_URL "
            "(`simfeed models` lists the presets)"
        )
    preset = providers()[provider]
    key = _key(settings, preset.key) if preset.key else ""
    if preset.key and not key:
        raise Misconfigured(f"the model {model!r} needs a key: set {preset.key}")
    own = settings.ollama_base_url if provider == "ollama" else None
    return Endpoint(provider, name, own or preset.base_url, key)


def ready(settings: Settings, model: str) -> None:
    """Check, without asking anybody, that `model` can be used.

    Raises:
        Misconfigured: no provider is known for it, its key is missing, or the local model is not installed.
    """
    if model == LOCAL:
        require()
    elif model != SCRIPTED:
        endpoint(settings, model)


def _key(settings: Settings, variable: str) -> str:
    secret = getattr(settings, variable.lower())
    key: str = secret.get_secret_value() if secret is not None else ""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Misconfigured(f"{variable} holds a character that no key has: a space, a line break or the like")
    return key


@dataclass(frozen=True)
class _Unknown:
    """A model that can't be reached under these settings."""

    detail: str

    async def complete(self, request: Request) -> Completion:
        return Completion("config", request.model, detail=self.detail, cost_usd=0.0)

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass
class Gateway:
    """Answers each request by the model it names.

    The order, outermost first: fallback, then for each model what shows it (SHOW_PROMPTS), its price, retries, the
    provider's gate, the transport.
    What is about a whole call, as the budget is, goes round this. Without a `pulse` the gateway has one of its own.

    Raises:
        Misconfigured: the prices of the settings make no sense.
    """

    settings: Settings
    pulse: Pulse | None = None
    seed: int = 0
    _models: dict[str, Model] = field(default_factory=dict)
    _gates: dict[str, Gate] = field(default_factory=dict)
    _held: dict[str, Model] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _prices: dict[tuple[str, str], Price] = field(init=False)
    _pulse: Pulse = field(init=False)

    def __post_init__(self) -> None:
        self._pulse = self.pulse or Pulse()
        self._prices = own_prices(self.settings.model_prices)

    async def complete(self, request: Request) -> Completion:
        if self._pulse.halted:
            raise Halted
        model = self._models.get(request.model)
        return await (model or self._named(request.model)).complete(request)

    def cost(self, model: str, usage: Usage) -> float | None:
        """US dollars for so many tokens of a model; None when its price is unknown."""
        if model in OFFLINE:
            return 0.0
        try:
            return charge(self._price(model, endpoint(self.settings, model)), usage)
        except Misconfigured:
            return None

    def _named(self, name: str) -> Model:
        fallback = self.settings.model_fallback
        stack = self._shown(self._stack(name), name)
        if fallback and name not in (fallback, *OFFLINE):
            stack = Fallback(stack, self._models.get(fallback) or self._named(fallback))
        return self._models.setdefault(name, stack)

    def _shown(self, stack: Model, name: str) -> Model:
        if not self.settings.show_prompts:
            return stack
        from app.llm.shown import Shown, of_settings

        return Shown(stack, name, of_settings(self.settings), self._numbers)

    def _stack(self, name: str) -> Model:
        if name in OFFLINE:
            return Priced(self._offline(name), name, FREE)
        try:
            where = endpoint(self.settings, name)
        except Misconfigured as error:
            return _Unknown(error.detail)
        admitted = Admitted(self._transport(where), self._gate(where))
        return Priced(Retrying(admitted, self.settings.model_timeout * 3), where.name, self._price(name, where))

    def _price(self, name: str, where: Endpoint) -> Price | None:
        """A model's price; behind an address of the operator's own only the operator knows it."""
        return self._prices.get(split(name)) if where.provider == CUSTOM else price(name, self._prices)

    def _gate(self, where: Endpoint) -> Gate:
        if where.provider not in self._gates:
            limits = RateLimit(self.settings.requests_per_minute, self.settings.tokens_per_minute)
            window = Window(self.settings.max_concurrent_turns)
            patience = self.settings.model_timeout
            self._gates[where.provider] = Gate(where.provider, where.key, self._pulse, limits, window, patience)
        return self._gates[where.provider]

    def _offline(self, name: str) -> Model:
        if name not in self._held:
            local = name == LOCAL
            deadline = self.settings.model_timeout
            self._held[name] = LocalModel(self.seed, deadline=deadline) if local else ScriptedModel(self.seed)
        return self._held[name]

    def _transport(self, where: Endpoint) -> Model:
        if where.provider not in self._held:
            self._held[where.provider] = self._client(where)
        return self._held[where.provider]

    def _client(self, where: Endpoint) -> Model:
        given: Connection = {
            "base_url": where.base_url,
            "api_key": where.key,
            "timeout": self.settings.model_timeout,
            "connections": self.settings.max_concurrent_turns,
        }
        if self.settings.model_transport == "raw":
            from app.llm.wire import RawModel  # a quarter of a second that the offline model need not wait

            return RawModel(**given)
        from app.llm.openai import OpenAIModel  # half a second, the same

        return OpenAIModel(**given)

    async def aclose(self) -> None:
        for model in self._held.values():
            await model.aclose()
