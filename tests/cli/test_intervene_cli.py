"""`simfeed intervene` and `run --interventions`, as people use them: exit codes, one line for bad input, data."""

import json
from pathlib import Path

import pytest

from tests.cli.test_replay_cli import SEED, data, simfeed

DOCS = Path(__file__).parents[2] / "docs" / "interventions.md"


@pytest.fixture
def peopled(url: str) -> str:
    assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
    return url


@pytest.fixture
def treatment(tmp_path: Path) -> str:
    """The example of the docs."""
    file = tmp_path / "treatment.toml"
    file.write_text(DOCS.read_text().split("```toml\n")[1].split("```")[0])
    return str(file)


def test_the_example_of_the_docs(peopled: str, treatment: str) -> None:
    """Three cycles with the file, listed, told of in the trace, replayed, and replayed without the rumour."""
    run = ["run", "--cycles", "3", "--clock", "simulated", "--rounds", "--seed", "5", "--json"]
    found = data(simfeed(peopled, *run, "--interventions", treatment))
    assert [one["state"] for one in found] == ["completed"] * 3
    assert [[one["kind"] for one in run["interventions"]] for run in found] == [[], ["post", "message"], ["ranker"]]
    listed = data(simfeed(peopled, "intervene", "list", "--json"))
    assert [(one["id"], one["state"]) for one in listed] == [(3, "done"), (2, "done"), (1, "done")]
    second = found[1]["run"]
    trace = simfeed(peopled, "trace", str(second)).stdout
    assert "It began with intervention 1: @luna_unfurls says" in trace
    assert "The council tells @max_vantage, @knut_knows" in trace
    assert "It began with intervention 1" in simfeed(peopled, "runs", "show", str(second)).stderr
    for one in found:
        assert data(simfeed(peopled, "replay", str(one["run"]), "--json"))["equal"]
    otherwise = data(
        simfeed(
            peopled, "replay", str(second), "--counterfactual", "without intervention 1", "--keep", "quiet", "--json"
        )
    )
    assert otherwise["asked"] > 0
    diff = data(simfeed(peopled, "world", "diff", "home", "quiet", "--json"))
    assert "They say the tram" in json.dumps(diff)
    post = listed[2]["outcome"]["post_id"]
    told = simfeed(peopled, "replay", str(second), "--counterfactual", f"drop post {post}")
    assert told.returncode == 2
    assert "without intervention 1" in told.stderr
    late = simfeed(peopled, "replay", str(found[2]["run"]), "--counterfactual", "without intervention 1")
    assert late.returncode == 2
    assert "no intervention 1 was done in run" in late.stderr


def test_plan_add_and_cancel(peopled: str, treatment: str) -> None:
    dry = simfeed(peopled, "intervene", "plan", treatment, "--relative", "--dry-run")
    assert dry.returncode == 0
    assert "dry run" in dry.stderr
    assert data(simfeed(peopled, "intervene", "list", "--json")) == []
    assert "None yet" in simfeed(peopled, "intervene", "list").stderr
    planned = data(simfeed(peopled, "intervene", "plan", treatment, "--json"))
    assert [one["cycle"] for one in planned] == [2, 2, 3]
    words = ["message", "--cycle", "6", "--to", "luna_unfurls", "--to", "max_vantage", "--body", "Hear."]
    (added,) = data(simfeed(peopled, "intervene", "add", *words, "--json"))
    assert "somebody outside tells @luna_unfurls, @max_vantage" in added["what"]
    assert simfeed(peopled, "intervene", "cancel", str(added["id"])).returncode == 0
    again = simfeed(peopled, "intervene", "cancel", str(added["id"]))
    assert (again.returncode, again.stdout) == (2, "")
    states = data(simfeed(peopled, "intervene", "list", "--state", "cancelled", "--json"))
    assert [one["id"] for one in states] == [added["id"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["intervene", "plan", "none.toml"], "can't be read"),
        (["intervene", "plan", "FILE:plan.yaml:- kind: post"], "plan.yaml: must be TOML or JSON"),
        (["intervene", "plan", 'FILE:p.toml:[[intervention]]\nkind = "fly"\ncycle = 1'], "p.toml: entry 1, `kind`"),
        (["intervene", "plan", 'FILE:p.toml:[[intervention]]\nkind = "pause"\ncycle = 1\nto = ["nobody"]'],
         "p.toml: entry 1, `to`: no persona has the username nobody"),
        (["run", "--interventions", 'FILE:p.toml:[[intervention]]\nkind = "pause"\ncycle = 2\nto = "all"'],
         "entry 1, `cycle`: 2 is behind the 1 of this command"),
        (["run", "--interventions", 'FILE:p.toml:[[intervention]]\nkind = "pause"\ncycle = 1\nto = ["nobody"]'],
         "p.toml: entry 1, `to`: no persona has the username nobody"),
        (["intervene", "add", "fly", "--cycle", "1"], "`kind`: must be one of post, message"),
        (["intervene", "add", "post", "--cycle", "1"], "`persona`: must be given"),
        (["intervene", "add", "pause", "--cycle", "1", "--to", "all", "--tag", "x"], "say one of --to"),
        (["intervene", "add", "news", "--at", "1999-01-01", "--title", "x"], "`at`: is over"),
        (["intervene", "list", "--state", "open"], "--state must be one of planned"),
        (["intervene", "cancel", "77"], "no intervention has the number 77"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_what_cannot_be(url: str, tmp_path: Path, arguments: list[str], said: str) -> None:
    words = []
    for word in arguments:
        if word.startswith("FILE:"):
            _, name, text = word.split(":", 2)
            (tmp_path / name).write_text(text)
            word = str(tmp_path / name)
        words.append(word)
    done = simfeed(url, *words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
