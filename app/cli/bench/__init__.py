"""`simfeed bench`: what a step, a read and a listener cost here, measured."""

from typing import Annotated, Literal

import typer

from app.cli.bench import arms, chances, exports, finds, gauges, listeners, lives, ranks, reads, steps, talks
from app.cli.bench import rooms as chatrooms
from app.cli.bench.plan import Over
from app.cli.bench.show import show
from app.cli.common import EXIT_FAILED, Json, err, settings_for, show_json
from app.errors import Invalid

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""\b
Examples:
  simfeed bench turns   what a persona's step costs: CPU, PostgreSQL, tokens, memory
  simfeed bench feed    how fast the feed is read, at the top and deep down
  simfeed bench events  how soon listeners are told what happens
  simfeed bench rooms   many chatrooms on one process, each with a person
  simfeed bench rank    what a ranked feed costs, for many personas in one go
  simfeed bench search  how long it takes to find posts and people
  simfeed bench worlds  how long a fork, a replay and a day in the world take
  simfeed bench experiment  two variants of ten runs each
  simfeed bench sessions  what focus groups, surveys and extractions take
  simfeed bench export  how long a dataset of a large world takes, in how much memory
  simfeed bench metrics  how long all metrics of a large world take
  simfeed bench statistics  how often intervals and tests are right, whom the stamp lets pass

Measure on this machine, in databases of its own that are deleted at the end: on a temporary server, or on
DATABASE_URL's when that is set. Statistics need none.""",
)


def _numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= n <= 100_000 for n in found):
        raise Invalid("--personas: must be numbers from 1 to 100000, separated by commas, e.g. 10,100,1000")
    return sorted(set(found))


@app.command()
def turns(
    personas: Annotated[str, typer.Option(help="How many, separated by commas; each is a world of its own.")] = (
        "10,100,1000,10000"
    ),
    cycles: Annotated[int, typer.Option(min=1, max=1000, help="Cycles of each world, after one to warm up.")] = 2,
    min_steps: Annotated[int, typer.Option(min=1, help="Small worlds play on until they made so many steps.")] = 3000,
    over: Annotated[
        Literal["http", "raw", "inprocess", "all"],
        typer.Option(help="The vendor's client or the raw transport against a stub, or the offline model."),
    ] = "all",
    latency_ms: Annotated[float, typer.Option(min=0, max=60_000, help="How long the stub thinks.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Turns under way at once.")] = 128,
    growth_cycles: Annotated[int, typer.Option(min=0, max=10_000, help="Cycles of the ageing world; 0: none.")] = 20,
    slow_personas: Annotated[
        int, typer.Option(min=0, max=100_000, help="Personas of the worlds with a slow model; 0: none.")
    ] = 1000,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="Rounds through the sizes; each one's cheapest counts.")
    ] = 1,
    profile: Annotated[bool, typer.Option("--profile", help="Tell where the CPU of a step goes.")] = False,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench turns
      simfeed bench turns --over raw --growth-cycles 200 --profile
      simfeed bench turns --personas 100 --over http --latency-ms 200
      simfeed bench turns --json > turns.json

    Measure what a step costs: CPU of this program and of PostgreSQL, prompt tokens, memory; from few personas to many,
    over a world's life, and with a slow model. Nothing leaves this machine.
    """
    chosen: list[Over] = ["http", "raw", "inprocess"] if over == "all" else [over]
    wanted = steps.Wanted(
        _numbers(personas),
        cycles,
        min_steps,
        chosen,
        latency_ms,
        concurrency,
        growth_cycles,
        slow_personas,
        profile,
        rounds,
    )
    found = steps.measure(settings_for(None), wanted)
    if json:
        show_json(found)
    else:
        show(found)
    if not found["sound"]:
        err.print("simfeed: the worlds that were played are not sound", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def feed(
    posts: Annotated[int, typer.Option(min=50, max=50_000_000, help="Posts of the world to read.")] = 200_000,
    likes: Annotated[int, typer.Option(min=0, max=500_000_000, help="Likes on them.")] = 1_000_000,
    requests: Annotated[int, typer.Option(min=10, max=1_000_000, help="Requests of each kind.")] = 2_000,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests under way at once.")] = 4,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench feed
      simfeed bench feed --posts 10000 --likes 50000
      simfeed bench feed --concurrency 16 --json > feed.json

    Make a world, serve it, read it: pages at the top and deep down, threads, personas, rankings; and beside each
    the same SQL without a server.
    """
    found = reads.measure(settings_for(None), reads.Wanted(posts, likes, requests, concurrency))
    if json:
        show_json(found)
    else:
        reads.show(found)
    if found["errors"]:
        err.print(f"simfeed: {found['errors']} requests were not answered with 200", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def events(
    clients: Annotated[int, typer.Option(min=1, max=500, help="Listeners of one server.")] = 500,
    posts: Annotated[int, typer.Option(min=1, max=100_000, help="Posts that are committed.")] = 400,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Posts a second.")] = 20,
    leaving: Annotated[
        int, typer.Option(min=0, max=500, help="Listeners that hang up now and then and come back by their last id.")
    ] = 50,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench events
      simfeed bench events --clients 100 --rate 50
      simfeed bench events --leaving 500 --json > events.json

    Serve a world, listen to it many times over, commit posts through the real committer, and see when each listener is
    told of each.
    """
    found = listeners.measure(settings_for(None), listeners.Wanted(clients, posts, rate, min(leaving, clients)))
    if json:
        show_json(found)
    else:
        listeners.show(found)
    if not found["sound"]:
        err.print("simfeed: some listeners were not told of every post exactly once", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def rooms(
    rooms: Annotated[int, typer.Option(min=1, max=500, help="Rooms, all on one process.")] = 100,
    agents: Annotated[int, typer.Option(min=1, max=20, help="Agents of each room.")] = 4,
    minutes: Annotated[float, typer.Option(min=0.05, max=240, help="How long all read.")] = 1,
    stalled: Annotated[
        int, typer.Option(min=0, max=100, help="People who then, for half as long, don't read what they are sent.")
    ] = 5,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench rooms
      simfeed bench rooms --minutes 10
      simfeed bench rooms --rooms 20 --agents 8 --stalled 0 --json

    Serve rooms whose agents a stub plays, sit a person in each who writes now and then, and see how soon everybody is
    told what, whether any message is lost, doubled or out of order, and what it costs when some don't read.
    """
    found = chatrooms.measure(settings_for(None), chatrooms.Wanted(rooms, agents, minutes, stalled))
    if json:
        show_json(found)
    else:
        chatrooms.show(found)
    if not found["sound"]:
        err.print("simfeed: messages were lost, doubled or out of order", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def rank(
    personas: Annotated[int, typer.Option(min=1, max=100_000, help="Whose feeds are made in one go.")] = 1_000,
    posts: Annotated[int, typer.Option(min=50, max=50_000_000, help="Posts of the world.")] = 100_000,
    likes: Annotated[int | None, typer.Option(min=0, max=500_000_000, help="Likes on them; five a post.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds; each ranker's cheapest counts.")] = 3,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench rank
      simfeed bench rank --personas 1000 --posts 1000000
      simfeed bench rank --rounds 10 --json > rank.json

    Make a world, and in it the ranked feeds of many personas in one go, by each ranker; and whom they might follow.
    """
    wanted = ranks.Wanted(personas, posts, posts * 5 if likes is None else likes, rounds)
    found = ranks.measure(settings_for(None), wanted)
    if json:
        show_json(found)
    else:
        ranks.show(found)


@app.command()
def worlds(
    posts: Annotated[int, typer.Option(min=50, max=50_000_000, help="Posts of the world that is forked.")] = 100_000,
    personas: Annotated[int, typer.Option(min=1, max=10_000, help="Who lives in what is played.")] = 30,
    cycles: Annotated[int, typer.Option(min=1, max=10_000, help="Cycles of half an hour, the offline model.")] = 48,
    latency_ms: Annotated[
        float, typer.Option(min=0, max=60_000, help="How long the model thinks in what is played again.")
    ] = 100,
    forks: Annotated[int, typer.Option(min=1, max=100, help="How often the world is forked.")] = 3,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench worlds
      simfeed bench worlds --posts 1000000 --forks 1
      simfeed bench worlds --json > worlds.json

    Fork a world, play runs and then again from the ledger, and live a simulated day; each in databases of its own.
    """
    found = lives.measure(settings_for(None), lives.Wanted(posts, personas, cycles, latency_ms, forks))
    if json:
        show_json(found)
    else:
        lives.show(found)
    if not found["sound"]:
        err.print("simfeed: a replay led to another world", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def experiment(
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each of the two variants.")] = 10,
    personas: Annotated[int, typer.Option(min=1, max=10_000, help="Who lives in each world.")] = 20,
    cycles: Annotated[int, typer.Option(min=1, max=10_000, help="Cycles of each run, the offline model.")] = 10,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Runs at once.")] = 2,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench experiment
      simfeed bench experiment --runs 2 --cycles 4 --json

    Two variants of the feed compared: forks, cycles, metrics and hashes, in databases of their own.
    """
    found = arms.measure(settings_for(None), arms.Wanted(runs, personas, cycles, parallel))
    if json:
        show_json(found)
    else:
        arms.show(found)
    if found["state"] != "completed":
        raise typer.Exit(EXIT_FAILED)


@app.command()
def search(
    posts: Annotated[int, typer.Option(min=50, max=50_000_000, help="Posts of the world.")] = 1_000_000,
    requests: Annotated[int, typer.Option(min=10, max=1_000_000, help="Searches of each kind.")] = 300,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Searches under way at once.")] = 2,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench search
      simfeed bench search --posts 100000
      simfeed bench search --requests 1000 --concurrency 4 --json > search.json

    Make a world, and search it for words that are rare, frequent, never together or nowhere, for phrases, for people.
    """
    found = finds.measure(settings_for(None), finds.Wanted(posts, requests, concurrency))
    if json:
        show_json(found)
    else:
        finds.show(found)


@app.command()
def sessions(
    participants: Annotated[int, typer.Option(min=2, max=1000, help="Participants of the focus group.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Its rounds.")] = 3,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="Sessions under way at once.")] = 20,
    large: Annotated[int, typer.Option(min=2, max=1000, help="Participants of the large survey.")] = 1000,
    persons: Annotated[int, typer.Option(min=1, max=1000, help="Persons that are generated.")] = 100,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench sessions
      simfeed bench sessions --participants 12 --rounds 2 --large 100
      simfeed bench sessions --json > sessions.json

    Generate persons, hold a focus group, extract from it, mark and recover it, hold many at once, and ask a thousand.
    """
    found = talks.measure(settings_for(None), talks.Wanted(participants, rounds, at_once, large, persons))
    if json:
        show_json(found)
    else:
        talks.show(found)
    if not found["sound"]:
        err.print("simfeed: a session was not completed, or recovered to another transcript", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def metrics(
    posts: Annotated[
        int, typer.Option(min=50, max=50_000_000, help="Posts of the world, and as many comments.")
    ] = 100_000,
    edges: Annotated[int, typer.Option(min=50, max=500_000_000, help="Follows and likes, together.")] = 1_000_000,
    personas: Annotated[int, typer.Option(min=50, max=1_000_000, help="Who lives there; each follows 20.")] = 20_000,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs, each with a turn of everybody.")] = 10,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench metrics
      simfeed bench metrics --posts 10000 --edges 100000 --personas 2000
      simfeed bench metrics --json > metrics.json

    Make a world, and reckon all its metrics: seconds, CPU, peak memory, and which metrics take longest.
    """
    found = gauges.measure(settings_for(None), gauges.Wanted(posts, edges, personas, runs))
    if json:
        show_json(found)
    else:
        gauges.show(found)


@app.command()
def export(
    rows: Annotated[int, typer.Option(min=500, max=100_000_000, help="Rows of the world, about.")] = 1_000_000,
    formats: Annotated[str, typer.Option(help="As `simfeed dataset build` has them.")] = "parquet,csv,jsonl,graphml",
    zipped: Annotated[bool, typer.Option("--zip", help="As one file.")] = False,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench export
      simfeed bench export --rows 100000 --zip
      simfeed bench export --formats parquet --json > export.json

    Make a world, export it and check what was written, each in a process of its own.
    """
    found = exports.measure(settings_for(None), exports.Wanted(rows, formats, zipped))
    if json:
        show_json(found)
    else:
        exports.show(found)
    if not found["sound"]:
        err.print("simfeed: the package is not what its manifest says", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def statistics(
    intervals: Annotated[int, typer.Option(min=10, max=100_000, help="Intervals of each kind and size.")] = 1000,
    stamps: Annotated[int, typer.Option(min=1, max=10_000, help="Simulations to stamp, of each kind and size.")] = 200,
    simulations: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Simulations of each case in which nothing is to be found.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="What all is drawn from.")] = 1,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed bench statistics
      simfeed bench statistics --intervals 10000 --seed 2
      simfeed bench statistics --intervals 10 --stamps 1 --simulations 5000
      simfeed bench statistics --json > statistics.json

    Draw runs of known truth, and count how often intervals of their mean hold it; stamp simulations that are like
    people, or just not; and count how often tests find what is not there, and intervals miss the truth. The figures
    of docs/statistics.md. Each case draws for itself, so its figures don't depend on how many there are of others.
    """
    found = chances.measure(chances.Wanted(intervals, stamps, simulations, seed))
    if json:
        show_json(found)
    else:
        chances.show(found)
