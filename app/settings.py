"""All settings, from the environment; unsafe values are refused before anything starts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import Misconfigured

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]", "host.docker.internal"})
KEPT, KEPT_DAYS = 1_000_000, 7
WEAK_SECRETS = ("secret", "changeme", "change-me", "password", "default", "example", "your-", "bootstrap")

Source = Literal["default", "environment", "file", "command line"]
HANDED_ON = "SIMFEED_SOURCES"
"""Where `simfeed up` tells the server it becomes which of its variables were flags, defaults, or in the home folder."""


class Settings(BaseSettings):
    """Every setting. The environment name is the field's name in upper case."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", validate_default=True, hide_input_in_errors=True)

    simfeed_home: Path = Field(Path(".simfeed"), description="Folder of the embedded database and generated secrets.")
    database_url: SecretStr | None = Field(
        None, description="A PostgreSQL (15 or later) to use; without it the embedded server under SIMFEED_HOME."
    )
    simfeed_world: str | None = Field(
        None, description="The world that commands and the server work in, by its name; without it the home world."
    )
    postgres_binaries: Path | None = Field(None, description="Folder of PostgreSQL's programs for the embedded server.")
    database_pool_size: int = Field(10, ge=2, le=200, description="Connections of each process to the database.")

    secret_key: SecretStr = Field(
        SecretStr(""), description="Signs tokens and cursors; at least 32 bytes. `bin/up` generates one."
    )
    bootstrap_token: SecretStr = Field(
        SecretStr(""), description="Registers the first admin, once; at least 16 characters. `bin/up` generates one."
    )
    access_token_minutes: int = Field(30, ge=1, le=1440, description="Life of an access token, in minutes.")
    page_session_minutes: int = Field(720, ge=1, le=43_200, description="Life of a sign-in on the pages, in minutes.")

    scheduler_job_interval: float = Field(
        30, ge=0.05, le=10_080, description="Minutes between cycles, until an admin changes it over the API."
    )
    scheduler_enabled: bool = Field(True, description="Whether this server's scheduler wakes the personas.")
    scheduler_overrun: Literal["skip", "queue"] = Field(
        "skip", description="What becomes of a tick while a cycle still runs: left out, or played behind it."
    )
    reuse: bool = Field(
        False,
        description="Answer a request of the feed that was answered before, byte for byte the same, with that answer, "
        "at no cost; answers are kept in the home world.",
    )
    world_clock: Literal["real", "simulated"] = Field(
        "real",
        description="The world's clock; simulated, each of the scheduler's cycles takes WORLD_STEP_MINUTES in it.",
    )
    world_step_minutes: float = Field(
        30,
        gt=0,
        le=525_600,
        description="Minutes that pass in the world from one cycle to the next, if it is simulated.",
    )
    rounds: bool = Field(
        False, description="Play cycles in rounds: all read the same state, then all act, and the seed decides."
    )
    worker_enabled: bool = Field(True, description="Whether this server plays turns too, or leaves them to workers.")
    batch_turns: int = Field(100, ge=1, le=10_000, description="Turns that are handed to a worker at a time.")

    simfeed_model: str = Field(
        "scripted", description="Model of personas that name none: a model name or `PRESET/NAME`."
    )
    tool_mode: Literal["native", "json"] = Field(
        "native", description="How a model acts: by function calls, or by strict JSON answers where it has none."
    )
    openai_api_key: SecretStr | None = Field(None, description="Key of OpenAI, or of OPENAI_BASE_URL.")
    openai_base_url: str | None = Field(None, description="Any OpenAI-compatible endpoint.")
    ollama_base_url: str | None = Field(
        None, description="Where models ollama/NAME are asked, if not at http://127.0.0.1:11434."
    )
    deepseek_api_key: SecretStr | None = Field(None, description="Key of DeepSeek.")
    gemini_api_key: SecretStr | None = Field(None, description="Key of Gemini.")
    openrouter_api_key: SecretStr | None = Field(None, description="Key of OpenRouter.")
    model_timeout: float = Field(60, gt=0, le=600, description="Seconds a model call may take in all.")
    model_max_tokens: int = Field(700, ge=16, le=32_768, description="Tokens a model may write in one call.")
    model_temperature: float | None = Field(None, ge=0, le=2, description="Temperature, unless a persona has its own.")

    model_fallback: str | None = Field(None, description="Model that is asked when a persona's own gives nothing.")
    model_transport: Literal["sdk", "raw"] = Field(
        "sdk", description="How providers are reached: through the vendor's client, or by a leaner one of ours."
    )
    model_prices: str = Field(
        "",
        description="Prices that the presets lack: `NAME=PROMPT/CACHED/WRITTEN` by commas, US dollars a million.",
    )
    requests_per_minute: int = Field(0, ge=0, description="Requests a minute to each provider, by all workers; 0: any.")
    tokens_per_minute: int = Field(0, ge=0, description="Tokens a minute to each provider, by all workers; 0: any.")

    budget_call_tokens: int | None = Field(None, ge=1, description="Most tokens of one model call.")
    budget_call_usd: float | None = Field(None, gt=0, description="Most US dollars of one model call.")
    budget_turn_tokens: int | None = Field(None, ge=1, description="Most tokens of one turn.")
    budget_turn_usd: float | None = Field(None, gt=0, description="Most US dollars of one turn.")
    budget_persona_day_tokens: int | None = Field(None, ge=1, description="Most tokens of a persona in a day (UTC).")
    budget_persona_day_usd: float | None = Field(None, gt=0, description="Most US dollars of a persona in a day (UTC).")
    budget_run_tokens: int | None = Field(None, ge=1, description="Most tokens of a run that says nothing else.")
    budget_run_usd: float | None = Field(None, gt=0, description="Most US dollars of a run that says nothing else.")
    budget_day_tokens: int | None = Field(None, ge=1, description="Most tokens of the whole instance in a day (UTC).")
    budget_day_usd: float | None = Field(
        None, gt=0, description="Most US dollars of the whole instance in a day (UTC)."
    )

    max_actions: int = Field(10, ge=1, le=50, description="Actions a persona may take in one turn.")
    max_calls_per_reply: int = Field(5, ge=1, le=20, description="Actions carried out of one model reply.")
    max_concurrent_turns: int = Field(64, ge=1, le=10_000, description="Turns that are under way at once.")
    result_tokens: int = Field(350, ge=50, le=20_000, description="Tokens a reading action may return.")
    copies: Literal["mark", "quarantine"] = Field(
        "quarantine", description="What becomes of texts that two personas or more copy: marked only, or hidden too."
    )

    reactions: Literal["off", "dislike", "all"] = Field(
        "off", description="What personas can feel about a post beside liking it: nothing, dislike, or any of five."
    )

    trends: Literal["off", "on"] = Field(
        "off", description="Whether personas can look up which words and hashtags rise; people always can."
    )

    feed_ranker: str = Field(
        "latest",
        description="What ranks the feed of personas and runs that name no ranker: `NAME` or `NAME:PARAMETER=NUMBER`.",
    )
    who_to_follow: Literal["off", "common_neighbours", "adamic_adar", "preferential", "interest"] = Field(
        "off", description="How people are suggested to personas, unless a run says otherwise; `off`: they are not."
    )
    memory: Literal["on", "off"] = Field("on", description="Whether personas remember what happened in other runs.")
    memory_scope: Literal["persona", "run"] = Field(
        "persona", description="What a persona can remember: all that it lived through, or this run alone."
    )
    memory_tokens: int = Field(100, ge=20, le=4_000, description="Tokens of memories in a turn's prompt, at most.")
    memory_most: int = Field(150, ge=20, le=2_000, description="Memories a persona keeps; the least important go.")
    memory_reflect: float = Field(
        12.0, ge=0, le=1_000, description="Importance that must have come together for a reflection; 0: never."
    )
    embedding_model: str | None = Field(
        None, description="Model (`PRESET/NAME`) whose embeddings say what is relevant; needs pgvector. Else words do."
    )

    alarms: str = Field(
        "",
        description="Limits of a run's monitors: `NAME=NOTICE/ALARM` or `NAME=off` by commas, or `off` for none.",
    )
    action_mix: str = Field(
        "first",
        description="What the mix of actions is compared with: `first`, the first cycles, or `KIND=NUMBER` by commas.",
    )

    rate_limit_per_minute: int = Field(
        6_000, ge=0, description="Requests a minute for one client address; 0: no limit."
    )
    login_attempts_per_ip: int = Field(25, ge=1, description="Failed sign-ins in 5 minutes from one address.")
    login_attempts_per_account: int = Field(25, ge=1, description="Failed sign-ins in an hour for one account.")
    login_delay_seconds: float = Field(
        1.0, ge=0, le=60, description="The longest wait for the answer to a wrong password; it grows from the sixth on."
    )
    session_guesses_per_hour: int = Field(
        60, ge=1, description="Failed tokens and receipt codes of studies in an hour from one address."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses, separated by commas, whose X-Forwarded-For header is believed."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), description="Origins, separated by commas, that may read the public routes."
    )
    events_kept: int = Field(
        KEPT, ge=1_000, le=1_000_000_000, description="Events that are kept for listeners who come back, at most."
    )
    events_days: int = Field(KEPT_DAYS, ge=1, le=3_650, description="Days for which events are kept, at most.")
    metrics_token: SecretStr | None = Field(
        None, description="Who sends it as a bearer may read /metrics; without it, only this machine may."
    )
    show_prompts: bool = Field(
        False, description="Print what models are asked and what they answer to stderr, for debugging."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    _given: dict[str, Source] = PrivateAttr(default_factory=dict)

    @field_validator("trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        scheme = urlsplit(value.get_secret_value()).scheme.partition("+")[0]
        if scheme not in ("postgresql", "postgres"):
            raise ValueError("must begin with postgresql://, e.g. postgresql://user:password@host:5432/simfeed")
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_secret(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (len(text.encode()) < 32 or _is_weak(text)):
            raise ValueError(
                "must be at least 32 random bytes; make one with "
                "`python3 -c 'import secrets; print(secrets.token_urlsafe(48))'`"
            )
        return value

    @field_validator("bootstrap_token", "metrics_token")
    @classmethod
    def _long_token(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else ""
        if text and (len(text) < 16 or len(set(text)) < 6):
            raise ValueError("must be at least 16 hard-to-guess characters")
        return value

    @field_validator("ollama_base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if not value:
            return None
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an http(s) address, e.g. http://127.0.0.1:11434")
        return value.rstrip("/") if url.path.strip("/") else f"{value.rstrip('/')}/v1"

    @field_validator("openai_base_url")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        if not value:
            return None
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an http(s) address, e.g. http://127.0.0.1:11434/v1")
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError("must use https:// unless the model runs on this machine: the key would travel in clear")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _caps(self) -> Self:
        if self.max_calls_per_reply > self.max_actions:
            raise ValueError("MAX_CALLS_PER_REPLY must not be more than MAX_ACTIONS")
        return self


def _is_weak(text: str) -> bool:
    return len(set(text)) < 8 or text.lower().startswith(WEAK_SECRETS)


def load_settings(**overrides: object) -> Settings:
    """Read the environment; `overrides` (from flags) are stronger.

    Raises:
        Misconfigured: names each wrong variable and what it must be.
    """
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic at run time
    except ValidationError as error:
        raise Misconfigured("; ".join(_explain(dict(e)) for e in error.errors())) from None
    settings._given = dict.fromkeys(overrides, "command line")
    return settings


def from_file(settings: Settings, values: Mapping[str, object]) -> Settings:
    """`settings` with what a file of the home folder says."""
    changed = settings.model_copy(update=values)
    changed._given = {**settings._given, **dict.fromkeys(values, "file")}
    return changed


def sources(settings: Settings) -> dict[str, Source]:
    """Where the value of each setting comes from."""
    here = {name.lower() for name in os.environ}
    pairs = (part.partition("=") for part in os.environ.get(HANDED_ON, "").split(","))
    known: dict[str, Source] = {"default": "default", "file": "file", "command line": "command line"}
    handed = {name: known.get(source, "environment") for name, _, source in pairs}
    return {
        name: settings._given.get(name) or (handed.get(name, "environment") if name in here else "default")
        for name in Settings.model_fields
    }


def _explain(error: dict[str, object]) -> str:
    location = error["loc"]
    name = str(location[0]).upper() if isinstance(location, tuple) and location else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
