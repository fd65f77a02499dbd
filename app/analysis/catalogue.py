"""The metrics of worlds by name: formula, unit, source, version (docs/metrics-of-worlds.md).

A version goes up when the same data would give another value. It knows no array, so that whoever wants names alone
need not wait for numpy.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import Invalid

Bounds = tuple[float | None, float | None]
Family = Literal["activity", "network", "exposure", "opinion", "cascade", "language", "collapse", "process"]


@dataclass(frozen=True)
class Metric:
    """One number that is told of a world.

    `bounds`: the least and the greatest value it can have, None for no such end. `where`: the function that has it,
    below `app.analysis`. `needs`: what there must be, for without it there is no value. `better`: whether a rise or a
    fall of it is good by itself, None where that depends on the question. `limits`: what it can't tell, which is shown
    beside the number. `monitor`: the monitor whose levels (`alarms.BY_NAME`) judge it.
    """

    name: str
    family: Family
    unit: str
    formula: str
    source: str
    version: int
    bounds: Bounds
    where: str
    needs: str
    better: Literal["higher", "lower"] | None = None
    limits: str = ""
    monitor: str | None = None


TEXTS_MOST = 20_000
"""Texts that scorers and likeness look at; of more, so many are drawn by the seed."""

SCORER = "vaderSentiment 3.3.2"
_SHARE: Bounds = (0, 1)
_SIGNED: Bounds = (-1, 1)
_ON: Bounds = (0, None)
_SHANNON = "Shannon 1948, Bell Syst. Tech. J. 27, 379-423"
_MIXING = "Newman 2003, Phys. Rev. E 67, 026126"
_MODULAR = "Newman & Girvan 2004, Phys. Rev. E 69, 026113; Newman 2004, Phys. Rev. E 70, 056131"
_Q = "Σ over groups of L / m - (K / 2m)²"
_VIRAL = "Goel et al. 2016, Management Science 62(1), 180-196"
_JSD = "H((p + q) / 2) - (H(p) + H(q)) / 2, of words that come 5 times or more"
_VADER = f"Hutto & Gilbert 2014, ICWSM 8(1), 216-225; {SCORER}"
_ENDORSED = "x by Bond & Messing 2015, Am. Polit. Sci. Rev. 109(1), 62-78"
_DRAWN = f"Of more than {TEXTS_MOST:,} texts so many are drawn by the seed."
_TONE = (
    "English only; a list of words with rules, which hears no irony: of ten sentences it was tried on, it judged eight"
    f" right. {_DRAWN}"
)
_TOXIC = (
    "Weak, as all offline scorers of toxicity are: of seven sentences tried, the better ones judged three right."
    " English only; slurs and threats in plain words are missed, quoted insults and banter counted. Use it to compare"
    f" arms, never to judge a person. {_DRAWN}"
)
_OPINION = "An opinion is read from what is endorsed, by its author's leaning; who endorses nothing has none."
_WORDS = (
    "Words are runs of letters and digits: Chinese, Japanese and Thai, which put no spaces between words, have few and"
    " long ones, Hindi has broken ones, and emoji are none."
)
_TOPICS = f"The list of words that say nothing is English. {_WORDS}"
_LEDGER = "the ledger: docs/metrics-of-worlds.md"

_A_PERSONA, _A_TIE, _A_TEXT, _A_RUN = "a persona", "a follow", "a text", "a run"
_A_LIKE, _WRITTEN = "a like of another's post", "a post or comment"
_SHOWN = "a post by another that was shown"
_SIDED = "posts shown of, and to, personas with a leaning"
_SIDED_TIE = "a follow among personas with a leaning"
_SIDES = "endorsements of personas on two known sides"
_A_CALL = "a model call"

_ALL = (
    Metric("active_share", "activity", "share", "personas that did anything / personas", "a count",
           1, _SHARE, "activity.active_share", _A_PERSONA),
    Metric("posts_per_persona", "activity", "posts", "posts, reposts and quotes / personas", "a count",
           1, _ON, "activity.per_persona", _A_PERSONA),
    Metric("comments_per_persona", "activity", "comments", "comments and replies / personas", "a count",
           1, _ON, "activity.per_persona", _A_PERSONA),
    Metric("likes_per_persona", "activity", "likes", "likes of posts / personas", "a count",
           1, _ON, "activity.per_persona", _A_PERSONA),
    Metric("follows_per_persona", "activity", "follows", "follows / personas", "a count",
           1, _ON, "activity.per_persona", _A_PERSONA),
    Metric("attention_gini", "activity", "index", "Σ (2i - n - 1) xᵢ / (n Σ x) · n / (n - 1), x ascending",
           "Dixon et al. 1987, Ecology 68(5), 1548-1551; Deltas 2003, Rev. Econ. Stat. 85(1), 226-234",
           2, _SHARE, "inequality.gini", f"{_A_LIKE}, and two personas"),
    Metric("participation_entropy", "activity", "bits", "-Σ p log₂ p, p = x / Σ x", _SHANNON,
           1, _ON, "inequality.entropy", _WRITTEN),
    Metric("participation_evenness", "activity", "index", "-Σ p log₂ p / log₂ n",
           "Pielou 1966, J. Theor. Biol. 13, 131-144",
           1, _SHARE, "inequality.evenness", f"{_WRITTEN}, and two personas"),
    Metric("top_share", "activity", "share", "what the ⌈n / 10⌉ with most have / Σ x",
           "Piketty & Saez 2003, Q. J. Econ. 118(1), 1-41", 2, _SHARE, "inequality.top_share", _A_LIKE),
    Metric("exposure_entropy", "exposure", "bits", "mean over viewers of -Σ p log₂ p, p by author", _SHANNON,
           1, _ON, "exposure.exposure_entropy", _SHOWN),
    Metric("leaning_entropy", "exposure", "bits", "mean over viewers of -Σ p log₂ p, p by the author's leaning",
           _SHANNON, 1, _ON, "exposure.leaning_entropy", _SIDED),
    Metric("effective_authors", "exposure", "authors", "mean over viewers of 2^H, H = -Σ p log₂ p by author",
           "Hill 1973, Ecology 54(2), 427-432; Jost 2006, Oikos 113(2), 363-375",
           1, (1, None), "exposure.effective_authors", _SHOWN),
    Metric("cross_cutting_share", "exposure", "share", "mean over viewers of Σ w [leanings differ] / Σ w",
           "Bakshy, Messing & Adamic 2015, Science 348(6239), 1130-1132",
           1, _SHARE, "exposure.cross_cutting_share", _SIDED),
    Metric("density", "network", "share", "m / (n (n - 1))", "Wasserman & Faust 1994, §4.3",
           1, _SHARE, "networks.density", "two personas"),
    Metric("reciprocity", "network", "share", "ties whose reverse is there / m", "Wasserman & Faust 1994, §13.2",
           1, _SHARE, "networks.reciprocity", _A_TIE),
    Metric("clustering", "network", "index", "mean over nodes of 2 e / (k (k - 1)); 0 for k < 2",
           "Watts & Strogatz 1998, Nature 393, 440", 1, _SHARE, "networks.clustering", _A_PERSONA),
    Metric("degree_assortativity", "network", "correlation",
           "Pearson's r over ties of source's out- and target's in-degree", f"{_MIXING}, eq. 25",
           1, _SIGNED, "networks.degree_assortativity", "follows of different degrees"),
    Metric("ei_index", "network", "index", "(E - I) / (E + I)",
           "Krackhardt & Stern 1988, Soc. Psychol. Q. 51(2), 123-140",
           1, _SIGNED, "polarisation.ei_index", _SIDED_TIE),
    Metric("leaning_assortativity", "network", "correlation", "(Σ eᵢᵢ - Σ aᵢ bᵢ) / (1 - Σ aᵢ bᵢ)", f"{_MIXING}, eq. 2",
           1, _SIGNED, "polarisation.group_assortativity", "follows among personas of two leanings"),
    Metric("leaning_modularity", "network", "index", f"{_Q}, groups are leanings", _MODULAR,
           1, (-0.5, 1), "polarisation.modularity", _SIDED_TIE),
    Metric("community_modularity", "network", "index", f"{_Q}, groups are communities of a seed",
           f"{_MODULAR}; communities: Blondel et al. 2008, J. Stat. Mech. P10008",
           1, (-0.5, 1), "communities.community_modularity", _A_TIE),
    Metric("opinion_mean", "opinion", "opinion", "Σ x / n, x = mean side, -1 or 1, of the authors one endorsed",
           _ENDORSED, 2, _SIGNED, "opinions.opinion_mean", _SIDES, limits=_OPINION),
    Metric("opinion_drift", "opinion", "opinion", "Σ |x₂ - x₁| / n, of those with opinions both before and after",
           _ENDORSED, 2, (0, 2), "opinions.opinion_drift", f"{_SIDES}, by somebody before and after", limits=_OPINION),
    Metric("opinion_variance", "opinion", "opinion²", "Σ (x - x̄)² / n",
           "DiMaggio, Evans & Bryson 1996, Am. J. Sociol. 102(3), 690-755",
           2, _ON, "polarisation.variance", _SIDES, limits=_OPINION),
    Metric("bimodality", "opinion", "index", "(g² + 1) / (k + 3 (n - 1)² / ((n - 2)(n - 3)))",
           "SAS/STAT, PROC CLUSTER; Pfister et al. 2013, Front. Psychol. 4, 700",
           2, _SHARE, "polarisation.bimodality", "four opinions that differ", limits=_OPINION),
    Metric("esteban_ray", "opinion", "index",
           "2^(1 + α) / width · Σᵢ Σⱼ πᵢ^(1 + α) πⱼ |yᵢ - yⱼ|, α = 1, opinions on 7 points",
           "Esteban & Ray 1994, Econometrica 62(4), 819-851, eq. 3",
           2, _SHARE, "polarisation.esteban_ray", _SIDES, limits=_OPINION),
    Metric("cascade_size", "cascade", "posts", "mean over cascades of n", _VIRAL,
           1, (1, None), "cascades.summary", _WRITTEN),
    Metric("cascade_largest", "cascade", "posts", "max over cascades of n", _VIRAL,
           1, (1, None), "cascades.summary", _WRITTEN),
    Metric("cascade_depth", "cascade", "steps", "mean over cascades of the longest way from the root", _VIRAL,
           1, _ON, "cascades.summary", _WRITTEN),
    Metric("cascade_breadth", "cascade", "posts", "mean over cascades of the posts on the fullest level",
           "Vosoughi, Roy & Aral 2018, Science 359(6380), 1146-1151", 1, (1, None), "cascades.summary", _WRITTEN),
    Metric("structural_virality", "cascade", "steps",
           "mean over cascades of 2 or more of 2 W / (n (n - 1)), W = Σ s (n - s)",
           f"{_VIRAL}, eq. 1; Wiener 1947, J. Am. Chem. Soc. 69(1), 17-20",
           1, (1, None), "cascades.summary", "a post that set off another, or a comment"),
    Metric("topic_drift", "language", "bits", _JSD, "Lin 1991, IEEE Trans. Inf. Theory 37(1), 145-151",
           1, _SHARE, "drift.topic_drift", "telling words that come five times, before and after",
           limits=_TOPICS),
    Metric("topic_drift_excess", "language", "bits", f"{_JSD}, less (k - 1)(1/n + 1/m) / (8 ln 2); at least 0",
           "Lin 1991; Grosse et al. 2002, Phys. Rev. E 65, 041905",
           1, _SHARE, "drift.topic_drift_excess", "telling words that come five times, before and after",
           limits=_TOPICS),
    Metric("text_length", "language", "words", "Σ words / texts", "words.words: runs of letters and digits",
           1, _ON, "drift.text_length", _A_TEXT, limits=_WORDS),
    Metric("sentiment_mean", "language", "compound", "mean over texts of VADER's compound score, -1 to 1", _VADER,
           1, _SIGNED, "tone.sentiment_mean", _A_TEXT, limits=_TONE),
    Metric("sentiment_spread", "language", "compound", "√(Σ (s - s̄)² / n), s being VADER's compound scores", _VADER,
           1, _SHARE, "tone.sentiment_spread", _A_TEXT, limits=_TONE),
    Metric("toxicity_share", "language", "share",
           "texts with a sentence that says “you”, and a word of valence -2 or less / texts",
           f"a rule of our own; valences: {SCORER}", 1, _SHARE, "tone.toxicity_share", _A_TEXT, "lower", _TOXIC),
    Metric("near_copy_rate", "collapse", "share",
           "texts of which half or more, by four words, was said before / texts of 4 words",
           "containment: Broder 1997, SEQUENCES", 1, _SHARE, "drift.near_copy_rate", "a text of four words", "lower",
           _WORDS),
    Metric("lexical_diversity", "collapse", "share", "mean over all stretches of 50 words of different words / 50",
           "Covington & McFall 2010, J. Quant. Linguistics 17(2), 94-100",
           1, _SHARE, "drift.lexical_diversity", "50 words", limits=_WORDS, monitor="lexical_diversity"),
    Metric("distinct_share", "collapse", "share", "different texts, by their words or else as written / texts",
           "a count", 2, _SHARE, "collapse.distinct_share", _A_TEXT, "higher", _WORDS),
    Metric("text_similarity", "collapse", "cosine", "mean over pairs of texts of the cosine of tf · idf",
           "Salton & Buckley 1988, Inf. Proc. & Management 24(5)",
           1, _SHARE, "collapse.text_similarity", "two texts", "lower", f"{_WORDS} {_DRAWN}",
           "similarity"),
    Metric("self_similarity", "collapse", "cosine",
           "mean over writers of the mean cosine of each text of their later half with each of the earlier half",
           "Salton & Buckley 1988, Inf. Proc. & Management 24(5)",
           1, _SHARE, "collapse.self_similarity", "two texts of one persona", "lower",
           f"{_WORDS} {_DRAWN}", "self_similarity"),
    Metric("agreement", "collapse", "balance",
           "(consent - dissent) / (consent + dissent), of words of consent or dissent",
           "realism.balance", 1, _SIGNED, "collapse.agreement", "a word of consent or dissent",
           limits=f"English only; it counts words, and hears no “not”. {_DRAWN}", monitor="agreement"),
    Metric("calls", "process", "calls", "model calls", _LEDGER, 1, _ON, "process.summary", _A_RUN),
    Metric("prompt_tokens", "process", "tokens", "Σ prompt tokens", _LEDGER, 1, _ON, "process.summary", _A_RUN),
    Metric("completion_tokens", "process", "tokens", "Σ completion tokens", _LEDGER, 1, _ON, "process.summary", _A_RUN),
    Metric("cost_usd", "process", "USD", "Σ cost of calls", _LEDGER, 1, _ON, "process.summary",
           "a price for every model call", "lower"),
    Metric("latency_p50_ms", "process", "ms", "median over calls that were answered", _LEDGER,
           1, _ON, "process.summary", f"{_A_CALL} that was answered", "lower"),
    Metric("latency_p95_ms", "process", "ms", "95th percentile over calls that were answered, between ranks linear",
           _LEDGER, 1, _ON, "process.summary", f"{_A_CALL} that was answered", "lower"),
    Metric("refusal_share", "process", "share", "turns in which the model declined / turns at an end", _LEDGER,
           1, _SHARE, "process.summary", "a turn at an end", "lower", monitor="refusals"),
    Metric("missing_turn_share", "process", "share", "turns that failed or were put off / turns planned", _LEDGER,
           1, _SHARE, "process.summary", "a planned turn", "lower", monitor="errors"),
)  # fmt: skip

METRICS: dict[str, Metric] = {one.name: one for one in _ALL}
"""Every metric of a world, in the order in which they are shown."""

FAMILIES: tuple[Family, ...] = tuple(dict.fromkeys(one.family for one in _ALL))


def chosen(names: Sequence[str] | None) -> list[Metric]:
    """The metrics of these names, each once and in the order given; all for None.

    Raises:
        Invalid: there is none of a name; each fault with its place, and what is near.
    """
    wanted = list(METRICS) if names is None else list(dict.fromkeys(names))
    faults = [_fault(place, name) for place, name in enumerate(names or (), 1) if name not in METRICS]
    if faults:
        raise Invalid("; ".join(faults[:10]) + (f"; and {len(faults) - 10} more" if len(faults) > 10 else ""))
    return [METRICS[name] for name in wanted]


def _fault(place: int, name: str) -> str:
    shown = name[:60]
    near = difflib.get_close_matches(shown.lower(), METRICS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`simfeed metrics --list` has them all"
    return f"metrics.{place}: there is no metric {shown!r}: {hint}"
