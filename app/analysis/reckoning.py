"""Each metric by its name, from what was gathered of a world: of all of it, or of one run."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.analysis import (
    activity,
    collapse,
    communities,
    drift,
    exposure,
    inequality,
    networks,
    opinions,
    polarisation,
    process,
    tone,
)
from app.analysis.arrays import Floats, Ints
from app.analysis.cascades import ROOT, cascades, summary
from app.analysis.catalogue import METRICS, TEXTS_MOST
from app.analysis.gathering import NOWHERE, Gathered, RunOf, whole
from app.analysis.networks import Ties
from app.analysis.realism import Value
from app.analysis.words import words
from app.streams import stream

Bools = NDArray[np.bool_]
Count = Callable[["View"], float | None]
One = TypeVar("One")


class World:
    """What was gathered, and what is worked out of it once for all views."""

    def __init__(self, found: Gathered, seed: int = 0) -> None:
        self.found = found
        self.seed = seed

    @cached_property
    def words(self) -> list[list[str]]:
        """The words of each text; of equal words there is one object, for they are millions."""
        known: dict[str, str] = {}
        return [[known.setdefault(word, word) for word in words(body)] for body in self.found.texts.body]

    @cached_property
    def said(self) -> Floats:
        """The share of each text that was said before."""
        return drift.said_before(self.words)

    @cached_property
    def sampled(self) -> Ints:
        """Texts, by place, that scorers and likeness look at: all, or `TEXTS_MOST` drawn by the seed."""
        n = len(self.found.texts.body)
        if n <= TEXTS_MOST:
            return np.arange(n)
        return np.array(sorted(stream(self.seed, "metrics", "texts").sample(range(n), TEXTS_MOST)), np.int64)

    @cached_property
    def tones(self) -> Floats:
        """The compound score of each text that is looked at, NaN for the others."""
        scores = np.full(len(self.found.texts.body), np.nan)
        scores[self.sampled] = tone.sentiments([self.found.texts.body[place] for place in self.sampled.tolist()])
        return scores


class View:
    """A world's acts that count: all, or those of one run (by its place); ties and `before` are as they were then."""

    def __init__(self, world: World, run: int | None = None) -> None:
        self.world = world
        self.run = run
        found = world.found
        self.people = len(found.people)
        self.posts, self.comments, self.likes, self.follows = (
            acts.where(self._counts(acts.run) & (acts.who >= 0))
            for acts in (found.posts, found.comments, found.likes, found.follows)
        )

    def _counts(self, run: Ints) -> Bools:
        if self.run is not None:
            return np.equal(run, self.run)
        return run >= 0 if self.world.found.within else np.ones(len(run), bool)

    def _of_runs(self, by_run: Sequence[One]) -> Sequence[One]:
        return by_run if self.run is None else by_run[self.run : self.run + 1]

    def _each(self, *whose: Ints) -> Ints:
        """How often each person comes, shape (people,)."""
        found = np.concatenate(whose)
        return np.bincount(found[found >= 0], minlength=self.people)

    @cached_property
    def acts(self) -> Ints:
        return self._each(self.posts.who, self.comments.who, self.likes.who, self.follows.who)

    @cached_property
    def written(self) -> Ints:
        return self._each(self.posts.who, self.comments.who)

    @cached_property
    def liked(self) -> Ints:
        """Likes that each person got from others."""
        return self._each(self.likes.to[self.likes.who != self.likes.to])

    @cached_property
    def ties(self) -> Ties:
        """Who follows whom; of a run, as far as that was made by then."""
        all_of_it = self.world.found.follows
        there = (all_of_it.who >= 0) & (all_of_it.to >= 0)
        if self.run is not None:
            there &= all_of_it.run <= self.run
        return Ties.of(self.people, all_of_it.who[there], all_of_it.to[there])

    @property
    def shown(self) -> tuple[Ints, Ints, Ints]:
        """(viewer, author, how often)."""
        found = self.world.found.shown
        return (found.viewer, found.author, found.times) if self.run is None else found.of_run(self.run)

    def endorsed(self, chosen: Callable[[Ints], Bools]) -> Floats:
        """The opinion of each person by what it liked and reposted in the runs that are chosen, NaN for none."""
        found = self.world.found
        is_repost = np.zeros(len(found.posts.id), bool)
        is_repost[found.reposts] = True
        acts = (found.likes, found.posts.where(is_repost))
        parts = [one.where(chosen(one.run) & (one.who >= 0) & (one.to >= 0)) for one in acts]
        who, to = (np.concatenate([getattr(one, name) for one in parts]) for name in ("who", "to"))
        return opinions.positions(who, to, found.side)

    @cached_property
    def opinions(self) -> Floats:
        """Those that there are."""
        return opinions.known(self.endorsed(self._counts))

    @property
    def opinion_drift(self) -> float | None:
        """From the first half of the runs to the others; of a run, from the one before."""
        if self.run is None:
            middle = len(self.world.found.runs) // 2
            before = self.endorsed(lambda run: (run >= 0) & (run < middle))
            return opinions.opinion_drift(before, self.endorsed(lambda run: run >= middle))
        earlier = self.endorsed(lambda run: (run >= 0) & (run == self.run - 1))  # type: ignore[operator]  # it is set
        return opinions.opinion_drift(earlier, self.endorsed(self._counts))

    @cached_property
    def cascades(self) -> Mapping[str, float | None]:
        found = self.world.found
        run, who = (
            np.concatenate([getattr(one, name) for one in (found.posts, found.comments)]) for name in ("run", "who")
        )
        counts = self._counts(run) & (who >= 0)
        place = np.where(counts, np.cumsum(counts) - 1, NOWHERE)
        above = found.parents[counts]
        return summary(cascades(np.where(above >= 0, place[above], ROOT) if len(place) else above))

    @cached_property
    def texts(self) -> Ints:
        """The places of texts that count."""
        found = self.world.found.texts
        return np.flatnonzero(self._counts(found.run) & (found.who >= 0))

    @cached_property
    def looked_at(self) -> Ints:
        """Those of them that scorers look at."""
        return self.texts[np.isin(self.texts, self.world.sampled, assume_unique=True)]

    def tokens(self, places: Ints) -> list[list[str]]:
        return [self.world.words[place] for place in places.tolist()]

    def bodies(self, places: Ints) -> list[str]:
        return [self.world.found.texts.body[place] for place in places.tolist()]

    @cached_property
    def topics(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The telling words of the earlier half of the texts and the later; of a run, of the one before and it."""
        if self.run is None:
            middle = len(self.texts) // 2
            before, after = self.texts[:middle], self.texts[middle:]
        else:
            before, after = View(self.world, self.run - 1).texts if self.run else self.texts[:0], self.texts
        one, other = (drift.topics(self.tokens(part), np.zeros(len(part), np.int64)) for part in (before, after))
        return (one[0] if one else {}), (other[0] if other else {})

    @cached_property
    def self_similarity(self) -> Value:
        return collapse.self_similarity(self.tokens(self.looked_at), self.world.found.texts.who[self.looked_at])

    @cached_property
    def agreement(self) -> Value:
        return collapse.agreement(self.bodies(self.looked_at))

    @cached_property
    def process(self) -> Mapping[str, float | None]:
        return process.summary(whole(self.played))

    @property
    def played(self) -> Sequence[RunOf]:
        return self._of_runs(self.world.found.runs)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "personas": self.people,
            "posts": len(self.posts.id),
            "comments": len(self.comments.id),
            "likes": len(self.likes.id),
            "follows": len(self.follows.id),
            "exposures": sum(self._of_runs(self.world.found.exposures)),
            "runs": len(self.played),
        }


def _near_copies(view: View) -> float | None:
    rates = drift.near_copy_rates(view.world.said[view.texts], np.zeros(len(view.texts), np.int64))
    return rates[0] if rates else None


def _diversity(view: View) -> float | None:
    found = drift.lexical_diversity(view.tokens(view.texts), np.zeros(len(view.texts), np.int64))
    return found[0] if found else None


def _per_persona(acts: str, view: View) -> float | None:
    return activity.per_persona(len(getattr(view, acts).id), view.people)


def _one_of(found: str, name: str, view: View) -> float | None:
    value: float | None = getattr(view, found)[name]
    return value


def _by_leaning(
    measure: Callable[[Ints, Ties], float | None],
) -> Count:
    return lambda view: measure(view.world.found.leaning, view.ties)


def _seen(measure: Callable[..., float | None]) -> Count:
    return lambda view: measure(*view.shown)


def _seen_sides(measure: Callable[..., float | None]) -> Count:
    return lambda view: measure(*view.shown[:2], view.world.found.leaning, view.shown[2])


VALUES: dict[str, Count] = {
    "active_share": lambda v: activity.active_share(v.acts),
    **{f"{one}_per_persona": partial(_per_persona, one) for one in ("posts", "comments", "likes", "follows")},
    "attention_gini": lambda v: inequality.gini(v.liked),
    "top_share": lambda v: inequality.top_share(v.liked),
    "participation_entropy": lambda v: inequality.entropy(v.written),
    "participation_evenness": lambda v: inequality.evenness(v.written),
    "exposure_entropy": _seen(exposure.exposure_entropy),
    "effective_authors": _seen(exposure.effective_authors),
    "leaning_entropy": _seen_sides(exposure.leaning_entropy),
    "cross_cutting_share": _seen_sides(exposure.cross_cutting_share),
    "density": lambda v: networks.density(v.ties),
    "reciprocity": lambda v: networks.reciprocity(v.ties),
    "clustering": lambda v: networks.clustering(v.ties),
    "degree_assortativity": lambda v: networks.degree_assortativity(v.ties),
    "ei_index": _by_leaning(polarisation.ei_index),
    "leaning_assortativity": _by_leaning(polarisation.group_assortativity),
    "leaning_modularity": _by_leaning(polarisation.modularity),
    "community_modularity": lambda v: communities.community_modularity(v.ties, seed=v.world.seed),
    "opinion_mean": lambda v: opinions.opinion_mean(v.opinions),
    "opinion_drift": lambda v: v.opinion_drift,
    "opinion_variance": lambda v: polarisation.variance(v.opinions),
    "bimodality": lambda v: polarisation.bimodality(v.opinions),
    "esteban_ray": lambda v: polarisation.esteban_ray(*polarisation.on_points(v.opinions)),
    **{one.name: partial(_one_of, "cascades", one.name) for one in METRICS.values() if one.family == "cascade"},
    "topic_drift": lambda v: drift.topic_drift(*v.topics),
    "topic_drift_excess": lambda v: drift.topic_drift_excess(*v.topics),
    "text_length": lambda v: drift.text_length(v.tokens(v.texts)),
    "sentiment_mean": lambda v: tone.sentiment_mean(v.world.tones[v.looked_at]),
    "sentiment_spread": lambda v: tone.sentiment_spread(v.world.tones[v.looked_at]),
    "toxicity_share": lambda v: tone.toxicity_share(v.bodies(v.looked_at)),
    "near_copy_rate": _near_copies,
    "lexical_diversity": _diversity,
    "distinct_share": lambda v: collapse.distinct_share(v.tokens(v.texts), v.bodies(v.texts)),
    "text_similarity": lambda v: collapse.text_similarity(v.tokens(v.looked_at)),
    "self_similarity": lambda v: v.self_similarity.value,
    "agreement": lambda v: v.agreement.value,
    **{one.name: partial(_one_of, "process", one.name) for one in METRICS.values() if one.family == "process"},
}
"""How each metric of the catalogue is reckoned."""

SIZES: dict[str, Callable[[View], float]] = {
    "lexical_diversity": lambda v: sum(map(len, v.tokens(v.texts))),
    "text_similarity": lambda v: len(v.looked_at),
    "self_similarity": lambda v: v.self_similarity.n,
    "agreement": lambda v: v.agreement.n,
    "refusal_share": lambda v: whole(v.played).ended,
    "missing_turn_share": lambda v: whole(v.played).planned,
}
"""From how much a value is known that a monitor judges."""
