"""The metrics of worlds by name: formula, unit, source, version (docs/metrics-of-worlds.md).

A version goes up when the same data would give another value. It knows no array, so that whoever wants names alone
need not wait for numpy.
"""

from dataclasses import dataclass
from typing import Literal

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Metric:
    """One number that is told of a world.

    `bounds`: the least and the greatest value it can have, None for no such end. `better`: whether a rise or a fall of
    it is good by itself, None where that depends on the question. `where`: the function that has it, below
    `app.analysis`.
    """

    name: str
    unit: str
    formula: str
    source: str
    version: int
    bounds: Bounds
    where: str
    better: Literal["higher", "lower"] | None = None


_SHARE: Bounds = (0, 1)
_SIGNED: Bounds = (-1, 1)
_SHANNON = "Shannon 1948, Bell Syst. Tech. J. 27, 379-423"
_MIXING = "Newman 2003, Phys. Rev. E 67, 026126"
_MODULAR = "Newman & Girvan 2004, Phys. Rev. E 69, 026113; Newman 2004, Phys. Rev. E 70, 056131"
_Q = "Σ over groups of L / m - (K / 2m)²"
_VIRAL = "Goel et al. 2016, Management Science 62(1), 180-196"
_JSD = "H((p + q) / 2) - (H(p) + H(q)) / 2, of words that come 5 times or more"

_ALL = (
    Metric("attention_gini", "index", "Σ (2i - n - 1) xᵢ / (n Σ x) · n / (n - 1), x ascending",
           "Dixon et al. 1987, Ecology 68(5), 1548-1551; Deltas 2003, Rev. Econ. Stat. 85(1), 226-234",
           1, _SHARE, "inequality.gini"),
    Metric("participation_entropy", "bits", "-Σ p log₂ p, p = x / Σ x", _SHANNON, 1, (0, None), "inequality.entropy"),
    Metric("participation_evenness", "index", "-Σ p log₂ p / log₂ n", "Pielou 1966, J. Theor. Biol. 13, 131-144",
           1, _SHARE, "inequality.evenness"),
    Metric("top_share", "share", "what the ⌈n / 10⌉ with most have / Σ x",
           "Piketty & Saez 2003, Q. J. Econ. 118(1), 1-41", 1, _SHARE, "inequality.top_share"),
    Metric("exposure_entropy", "bits", "mean over viewers of -Σ p log₂ p, p by author", _SHANNON,
           1, (0, None), "exposure.exposure_entropy"),
    Metric("leaning_entropy", "bits", "mean over viewers of -Σ p log₂ p, p by the author's leaning", _SHANNON,
           1, (0, None), "exposure.leaning_entropy"),
    Metric("effective_authors", "authors", "mean over viewers of 2^H, H = -Σ p log₂ p by author",
           "Hill 1973, Ecology 54(2), 427-432; Jost 2006, Oikos 113(2), 363-375",
           1, (1, None), "exposure.effective_authors"),
    Metric("cross_cutting_share", "share", "mean over viewers of Σ w [leanings differ] / Σ w",
           "Bakshy, Messing & Adamic 2015, Science 348(6239), 1130-1132", 1, _SHARE, "exposure.cross_cutting_share"),
    Metric("density", "share", "m / (n (n - 1))", "Wasserman & Faust 1994, §4.3", 1, _SHARE, "networks.density"),
    Metric("reciprocity", "share", "ties whose reverse is there / m", "Wasserman & Faust 1994, §13.2",
           1, _SHARE, "networks.reciprocity"),
    Metric("clustering", "index", "mean over nodes of 2 e / (k (k - 1)); 0 for k < 2",
           "Watts & Strogatz 1998, Nature 393, 440", 1, _SHARE, "networks.clustering"),
    Metric("degree_assortativity", "correlation", "Pearson's r over ties of source's out- and target's in-degree",
           f"{_MIXING}, eq. 25", 1, _SIGNED, "networks.degree_assortativity"),
    Metric("opinion_variance", "opinion²", "Σ (x - x̄)² / n",
           "DiMaggio, Evans & Bryson 1996, Am. J. Sociol. 102(3), 690-755", 1, (0, None), "polarisation.variance"),
    Metric("bimodality", "index", "(g² + 1) / (k + 3 (n - 1)² / ((n - 2)(n - 3)))",
           "SAS/STAT, PROC CLUSTER; Pfister et al. 2013, Front. Psychol. 4, 700", 1, _SHARE, "polarisation.bimodality"),
    Metric("esteban_ray", "index", "2^(1 + α) / width · Σᵢ Σⱼ πᵢ^(1 + α) πⱼ |yᵢ - yⱼ|, α = 1, opinions on 7 points",
           "Esteban & Ray 1994, Econometrica 62(4), 819-851, eq. 3", 1, _SHARE, "polarisation.esteban_ray"),
    Metric("ei_index", "index", "(E - I) / (E + I)", "Krackhardt & Stern 1988, Soc. Psychol. Q. 51(2), 123-140",
           1, _SIGNED, "polarisation.ei_index"),
    Metric("leaning_assortativity", "correlation", "(Σ eᵢᵢ - Σ aᵢ bᵢ) / (1 - Σ aᵢ bᵢ)", f"{_MIXING}, eq. 2",
           1, _SIGNED, "polarisation.group_assortativity"),
    Metric("leaning_modularity", "index", f"{_Q}, groups are leanings", _MODULAR,
           1, (-0.5, 1), "polarisation.modularity"),
    Metric("community_modularity", "index", f"{_Q}, groups are communities of a seed",
           f"{_MODULAR}; communities: Blondel et al. 2008, J. Stat. Mech. P10008",
           1, (-0.5, 1), "communities.community_modularity"),
    Metric("cascade_size", "posts", "mean over cascades of n", _VIRAL, 1, (1, None), "cascades.summary"),
    Metric("cascade_largest", "posts", "max over cascades of n", _VIRAL, 1, (1, None), "cascades.summary"),
    Metric("cascade_depth", "steps", "mean over cascades of the longest way from the root", _VIRAL,
           1, (0, None), "cascades.summary"),
    Metric("cascade_breadth", "posts", "mean over cascades of the posts on the fullest level",
           "Vosoughi, Roy & Aral 2018, Science 359(6380), 1146-1151", 1, (1, None), "cascades.summary"),
    Metric("structural_virality", "steps", "mean over cascades of 2 or more of 2 W / (n (n - 1)), W = Σ s (n - s)",
           f"{_VIRAL}, eq. 1; Wiener 1947, J. Am. Chem. Soc. 69(1), 17-20", 1, (1, None), "cascades.summary"),
    Metric("topic_drift", "bits", _JSD, "Lin 1991, IEEE Trans. Inf. Theory 37(1), 145-151",
           1, _SHARE, "drift.topic_drift"),
    Metric("topic_drift_excess", "bits", f"{_JSD}, less (k - 1)(1/n + 1/m) / (8 ln 2); at least 0",
           "Lin 1991; Grosse et al. 2002, Phys. Rev. E 65, 041905", 1, _SHARE, "drift.topic_drift_excess"),
    Metric("near_copy_rate", "share", "texts of which half or more, by four words, was said before / texts of 4 words",
           "containment: Broder 1997, SEQUENCES", 1, _SHARE, "drift.near_copy_rate", "lower"),
    Metric("lexical_diversity", "share", "mean over all stretches of 50 words of different words / 50",
           "Covington & McFall 2010, J. Quant. Linguistics 17(2), 94-100", 1, _SHARE, "drift.lexical_diversity"),
    Metric("text_length", "words", "Σ words / texts", "words.words: runs of letters and digits",
           1, (0, None), "drift.text_length"),
)  # fmt: skip

METRICS: dict[str, Metric] = {one.name: one for one in _ALL}
"""Every metric of a world, in the order in which they are shown."""
