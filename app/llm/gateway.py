"""Every model by its name: the offline one, or a provider's behind its wrappers, in the order given here."""

import asyncio
from dataclasses import dataclass, field, replace

import msgspec

from app.errors import Misconfigured
from app.llm.local import LocalModel, require
from app.llm.model import Completion, Model, Request
from app.llm.pricing import CUSTOM, LOCAL, OFFLINE, SCRIPTED, cost, providers, split
from app.llm.retry import Retrying
from app.llm.scripted import ScriptedModel
from app.settings import Settings


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
    return Endpoint(provider, name, preset.base_url, key)


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


@dataclass
class Gateway:
    """Answers each request by the model it names."""

    settings: Settings
    seed: int = 0
    _models: dict[str, Model] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.settings.max_concurrent_turns)

    async def complete(self, request: Request) -> Completion:
        if request.model in OFFLINE:
            free = await self._model(request.model, None).complete(request)
            return msgspec.structs.replace(free, cost_usd=0.0)
        try:
            where = endpoint(self.settings, request.model)
        except Misconfigured as error:
            return Completion("config", request.model, detail=error.detail)
        async with self._slots:
            completion = await self._model(where.provider, where).complete(replace(request, model=where.name))
        price = None if where.provider == CUSTOM else cost(f"{where.provider}/{where.name}", completion.usage)
        return msgspec.structs.replace(completion, cost_usd=price)

    def _model(self, provider: str, where: Endpoint | None) -> Model:
        if provider not in self._models:
            self._models[provider] = self._offline(provider) if where is None else self._stack(where)
        return self._models[provider]

    def _offline(self, name: str) -> Model:
        if name == LOCAL:
            return LocalModel(self.seed, deadline=self.settings.model_timeout)
        return ScriptedModel(self.seed)

    def _stack(self, where: Endpoint) -> Model:
        from app.llm.openai import OpenAIModel  # half a second that the offline model need not wait

        client = OpenAIModel(
            base_url=where.base_url,
            api_key=where.key,
            timeout=self.settings.model_timeout,
            connections=self.settings.max_concurrent_turns,
        )
        return Retrying(client)

    async def aclose(self) -> None:
        for model in self._models.values():
            await model.aclose()
