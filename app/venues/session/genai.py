"""GenAI Social Sim's two files, as they are: `app.yaml` with its bots and channels, `seed.yaml` with what begins."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MaxLen
from pydantic import Field, StringConstraints

from app.errors import Invalid
from app.llm.pricing import OFFLINE, providers
from app.venues.session.design import Dialogue, Name, Options, Part, Some, Terms, Text, checked
from app.venues.session.files import read_value

Model = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[!-~]+$")]
CHANNEL = "general"
SENDER = "system"
UNLIMITED = (-1, -2)
"""What Ollama takes for no limit of `num_predict`."""

OWN_PLACE = "http://127.0.0.1:11434"


class _Message(Part):
    from_: Name = Field(SENDER, alias="from")
    body: Some


class _Bot(Part):
    model: Model
    generation_config: Options = Options()


class _Ollama(Part):
    base_url: str = ""
    bots: Annotated[dict[Name, _Bot], MaxLen(20)] = Field(default_factory=dict)


class _Channels(Part):
    defaults: Annotated[tuple[Name, ...], MaxLen(100)] = (CHANNEL,)


class _Turns(Part):
    initial_bot: Name = "random"


class _App(Part):
    channels: _Channels = _Channels()
    ollama: _Ollama = _Ollama()
    channel_turns: Annotated[dict[Name, _Turns], MaxLen(100)] = Field(default_factory=dict)
    message: _Message | None = None
    prompts: dict[Name, Text] = Field(default_factory=dict)


class _Seed(Part):
    channel: Name | None = None
    message: _Message
    prompts: dict[Name, Text] = Field(default_factory=dict)


KNOWN: Mapping[str, Sequence[str]] = {
    "": ("channels", "ollama", "channel_turns", "message", "prompts"),
    "channels": ("defaults",),
    "ollama": ("base_url", "bots"),
    "ollama.bots.*": ("model", "generation_config"),
    "ollama.bots.*.generation_config": tuple(Options.model_fields),
    "channel_turns.*": ("initial_bot",),
    "message": ("from", "body"),
}
"""The keys that are read, by their place; what else is there is named and not used, as is what holds nothing."""

SEED_KNOWN = {"": ("channel", "message", "prompts"), "message": ("from", "body")}


@dataclass(frozen=True)
class App:
    """What an `app.yaml` says: bots as designs have them, channels, who begins where; `notes` name what is not used."""

    name: str
    bots: Mapping[str, Mapping[str, Any]]
    channels: Sequence[str] = (CHANNEL,)
    initial: Mapping[str, str] = field(default_factory=dict)
    message: Mapping[str, str] | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Seed:
    """What a `seed.yaml` says: in which channel a dialogue begins, with what, and prompts of bots."""

    name: str
    message: Mapping[str, str]
    channel: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def is_app(value: Any) -> bool:
    """Whether a file's value is an `app.yaml`, and not a design of ours."""
    return isinstance(value, dict) and "ollama" in value


def read_app(path: Path) -> App:
    """What an `app.yaml` says.

    Raises:
        NotFound: there is no such file.
        Invalid: names each wrong place.
    """
    return app_of(read_value(path), path.name)


def app_of(value: Any, name: str) -> App:
    """What the value of an `app.yaml` says.

    Raises:
        Invalid: names each wrong place.
    """
    kept, notes = _kept(value, name, KNOWN)
    notes += _limits(kept, name)
    read: _App = checked(_App, kept, name)
    if not read.ollama.bots:
        raise Invalid(f"{name}: ollama.bots: must name at least one bot, with its model")
    notes += [
        f"{name}: prompts.{who} is not used: no bot has that name"
        for who in read.prompts
        if who not in read.ollama.bots
    ]
    _places(read, name)
    return App(
        name,
        {who: _bot(who, bot) for who, bot in read.ollama.bots.items()},
        tuple(dict.fromkeys(read.channels.defaults)),
        {channel: turns.initial_bot for channel, turns in read.channel_turns.items()},
        _said(read.message),
        read.prompts,
        [*notes, *_place(read, name)],
    )


def read_seed(path: Path) -> Seed:
    """What a `seed.yaml` says.

    Raises:
        NotFound: there is no such file.
        Invalid: names each wrong place.
    """
    kept, notes = _kept(read_value(path), path.name, SEED_KNOWN)
    read: _Seed = checked(_Seed, kept, path.name)
    return Seed(path.name, _said(read.message) or {}, read.channel, read.prompts, notes)


def dialogues(
    app: App,
    seeds: Sequence[Seed] = (),
    *,
    channels: Sequence[str] = (),
    message: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> list[Dialogue]:
    """A design for each channel: those named, else those of the seeds, else all that the app has.

    Args:
        message: what each begins with (`from`, `message`), instead of what the files say.
        more: other settings of the designs, as their fields.

    Raises:
        Invalid: names each wrong place; or says that nothing begins a channel.
    """
    own = {seed.channel or app.channels[0]: seed for seed in seeds}
    if len(own) < len(seeds):
        raise Invalid("several seed files are of the same channel: give each a channel of its own")
    made = []
    for channel in dict.fromkeys(channels or tuple(own) or app.channels or (CHANNEL,)):
        seed = own.get(channel)
        begins = message or (seed.message if seed else app.message)
        if begins is None:
            raise Invalid(f"nothing begins the channel {channel}: give --message TEXT, or --seed-file with a seed.yaml")
        prompts = {**app.prompts, **(seed.prompts if seed else {})}
        bots = [{**bot, **({"prompt": prompts[who]} if who in prompts else {})} for who, bot in app.bots.items()]
        given = {
            "name": channel,
            "channel": channel,
            "bots": bots,
            "seed_message": dict(begins),
            "initial_bot": app.initial.get(channel, "random"),
            **(more or {}),
        }
        made.append(checked(Dialogue, given, app.name))
    return made


def strays(app: App, seeds: Sequence[Seed]) -> list[str]:
    """A note for each prompt of a seed file that is of no bot."""
    return [
        f"{seed.name}: prompts.{who} is not used: no bot has that name"
        for seed in seeds
        for who in seed.prompts
        if who not in app.bots
    ]


def with_model(design: Dialogue, model: str) -> Dialogue:
    """The same dialogue, with one model for all bots."""
    terms: Terms = design.terms.model_copy(update={"model": model})
    bots = tuple(bot.model_copy(update={"model": model}) for bot in design.bots)
    return design.model_copy(update={"bots": bots, "terms": terms})


def with_bots(app: App, bots: Mapping[str, Mapping[str, Any]]) -> App:
    """The app with more bots, or with other prompts and personas of those it has."""
    merged = {**app.bots, **{who: {**app.bots.get(who, {}), **bot} for who, bot in bots.items()}}
    prompts = {who: text for who, text in app.prompts.items() if who not in bots}
    return replace(app, bots=merged, prompts=prompts)


def model_name(name: str) -> str:
    """A model of the file, which names models of Ollama, as it is called here."""
    head, slash, _ = name.partition("/")
    return name if name in OFFLINE or (slash and head in providers()) else f"ollama/{name}"


def _bot(who: str, bot: _Bot) -> dict[str, Any]:
    options = bot.generation_config.model_dump(exclude_defaults=True)
    return {"name": who, "model": model_name(bot.model), "options": options}


def _said(message: _Message | None) -> dict[str, str] | None:
    return None if message is None else {"from": message.from_, "message": message.body}


def _places(read: _App, name: str) -> None:
    """Refuse channels that begin with a bot that is none."""
    bots = read.ollama.bots
    wrong = [
        f"channel_turns.{channel}.initial_bot: must be random or one of: {', '.join(bots)}"
        for channel, turns in read.channel_turns.items()
        if turns.initial_bot not in ("random", *bots)
    ]
    if wrong:
        raise Invalid(f"{name}: {'; '.join(wrong)}")


def _place(read: _App, name: str) -> Iterator[str]:
    """What to know where the file's Ollama is not where models of Ollama are asked."""
    base = read.ollama.base_url.strip().rstrip("/").removesuffix("/v1").replace("//localhost", "//127.0.0.1")
    if base and base != OWN_PLACE:
        yield (
            f"{name}: ollama.base_url {base[:200]} is not used: models ollama/NAME are asked at {OWN_PLACE}, or where "
            "OLLAMA_BASE_URL says"
        )


def _kept(value: Any, name: str, known: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], list[str]]:
    """What is read of a file, and a note for each key that is not."""
    if not isinstance(value, dict):
        raise Invalid(f"{name}: must be a map with {', '.join(known[''])}")
    notes: list[str] = []

    def of(given: Any, shape: str, place: str) -> Any:
        if not isinstance(given, dict):
            return given
        kept = {}
        for key, inner in given.items():
            at = f"{place}.{key}" if place else str(key)
            if shape in known and key not in known[shape]:
                notes.append(f"{name}: {at} is not used")
            elif (star := f"{shape}.*") in known:
                kept[key] = of({} if inner is None else inner, star, at)
            elif inner is not None:
                kept[key] = of(inner, f"{shape}.{key}" if shape else str(key), at)
        return kept

    return of(value, "", ""), notes


def _limits(kept: Mapping[str, Any], name: str) -> Iterator[str]:
    """Takes away what says that there is no limit of what a bot writes: here there is one."""
    ollama = kept.get("ollama")
    bots = ollama.get("bots") if isinstance(ollama, dict) else None
    for who, bot in bots.items() if isinstance(bots, dict) else ():
        options = bot.get("generation_config") if isinstance(bot, dict) else None
        if isinstance(options, dict) and options.get("num_predict") in UNLIMITED:
            del options["num_predict"]
            place = f"{name}: ollama.bots.{who}.generation_config.num_predict"
            yield f"{place} is not used: no bot writes without limit; --max-tokens holds"
