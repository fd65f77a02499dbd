"""Words: their stems, what a text is about as phrases, which side its words take, which amounts it names."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from app.llm.scripted.voices import words

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_PIECE = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[.,:;!?()\[\]{}<>\"“”„/|—–\n*#=]")
_AMOUNT = re.compile(
    r"(?P<sign>[€$£¥])\s?(?P<a>\d{1,9}(?:[.,]\d{1,3})*)|"
    r"(?P<b>\d{1,9}(?:[.,]\d{1,3})*)\s?(?P<unit>€|\$|£|euros?\b|eur\b|dollars?\b|usd\b|pounds?\b|gbp\b|francs?\b|chf\b|cents?\b)",
    re.IGNORECASE,
)
NUMBER = re.compile(r"(?<![\w.,])-?\d{1,12}(?:[.,]\d{3})*(?:[.,]\d{1,6})?(?![\w])")
_STOP = frozenset(words("stop"))
_VERBS = frozenset(words("no_nouns"))
_NOUNY = frozenset(words("nouns_with_others"))
"""Words that are verbs, or too plain, alone, and still make a phrase with another one."""
_LY = frozenset(words("ly_nouns"))
_COUNTS = frozenset(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"])
_MASS = re.compile(r"(?:ity|ness|tion|ment|ism|acy|ance|ence|ing|ship|ware|ics|phy|ogy|dom|cs)$")
_PEOPLE_S = re.compile(r"(?:ss|us|is|ics)$")
_GOOD = frozenset(words("good"))
_BAD = frozenset(words("bad"))
_TURNS = frozenset(words("turns"))

_GREETS = re.compile(r"\bgood (?:morning|evening|afternoon|day|night|luck)\b")
_SHORTENED = ("'ve", "'d", "'ll", "'re", "n't", "'m")
_NEGATIONS = frozenset(words("negations"))
_INTENDS = re.compile(
    r"\b(?:i'd|i would|i will|i'll|we'd|we would) (?:even |definitely |gladly |stay with |still |say )*"
    r"(?:use|buy|try|recommend|join|support|vote for|start|sign up|stay|yes|do it|give)\b|\bi'm (?:all )?(?:in|for)\b"
    r"|\bcount me in\b|\byes from me\b|\bgot me\b|\bput me (?:on|down as a friend)|\bi'm a customer\b"
    r"|\bwins me over\b|\bwe need\b|\bhigh time for\b|\bmore for than\b"
)
_REFUSES = re.compile(
    r"\b(?:i|we|nobody \w+(?: \w+){0,3}) (?:wouldn't|would not|won't|will not|would never)\b"
    r"(?! (?:go beyond|hesitate|mind|think long))|\bi still wouldn't\b"
    r"|\bi'd (?:rather keep|leave|skip|say no|vote no|never|keep my|keep what|send)\b|\bit's a no\b|\bno from me\b"
    r"|\bi'm (?:out|against)\b|\bnot (?:for me|like this)\b|\bkeep my money\b|\bputs me off\b"
    r"|\btoo (?:expensive|much|many|long|far|dear)\b|\bi don't (?:see what|trust|think much|need|want|know what for)\b"
    r"|\bas a doubter\b|\bnobody in my\b|\bkeep my distance\b|\bi was out\b|\bnever finish\b"
)


def stem(word: str) -> str:
    """A word without its commonest endings, in lower case."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ingly", "edly", "ing", "ists", "ist", "ers", "ed", "er", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    else:
        if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
            word = word[:-1]
    return word.removesuffix("e") if len(word) > 4 else word


@lru_cache(maxsize=16_384)
def stems(text: str) -> frozenset[str]:
    """The stems of the words of a text that mean something."""
    return frozenset(stem(word) for word in WORD.findall(text) if word.lower() not in _STOP and len(word) > 2)


@lru_cache(maxsize=16_384)
def tokens(text: str) -> tuple[str, ...]:
    """The words of a text, in lower case."""
    return tuple(word.lower().replace("’", "'") for word in WORD.findall(text))


@lru_cache(maxsize=16_384)
def slant(text: str) -> int:
    """How much a text speaks for something rather than against it, by its words; a negation turns what follows it."""
    low = text.lower().replace("’", "'")
    low = _GREETS.sub(" ", low.replace("not sure", "unsure"))
    total = 2 * (len(_INTENDS.findall(low)) - len(_REFUSES.findall(low)))
    turned = 0
    for word in tokens(low):
        if word in _NEGATIONS:
            turned = 4
            continue
        value = (word in _GOOD) - (word in _BAD)
        total += -value if turned else value
        turned = max(0, turned - 1)
    return total


def turns(text: str) -> bool:
    """Whether to agree to a text is to be against what it names."""
    return sum(word in _TURNS for word in tokens(text)) % 2 == 1


@dataclass(frozen=True)
class Phrase:
    """A thing that a text names: its words, and the word before it if that belongs to a noun."""

    text: str
    before: str = ""

    @property
    def plural(self) -> bool:
        last = self.text.split()[-1].lower()
        return last.endswith("s") and not _PEOPLE_S.search(last)

    @property
    def named(self) -> str:
        """As it stands in a sentence about it."""
        if self.before in ("a", "an", "the", "this", "that", "these", "those", "your", "our"):
            return f"the {self.text}"
        bare = self.plural or self.text[0].isupper() or _MASS.search(self.text) or self.before in ("of", "more", "less")
        return self.text if bare or self.before in ("about", "on") else f"the {self.text}"


@lru_cache(maxsize=8_192)
def phrases(text: str) -> tuple[Phrase, ...]:
    """The things that a text names, in its order: runs of up to four words that are neither verbs nor small words."""
    found: list[Phrase] = []
    run: list[str] = []
    before = opener = ""
    for piece in [*_PIECE.findall(text[:4_000]), "."]:
        low = piece.lower().replace("’", "'")
        if _nominal(low, inside=bool(run)):
            if not run:
                opener = "the" if before in _COUNTS or before[:1].isdigit() else before
            run.append(piece)
        else:
            _close(found, run, opener)
            run = []
        before = low
    return tuple(found)


def _nominal(word: str, *, inside: bool) -> bool:
    """Whether a word may belong to the name of a thing; some may only behind another one."""
    if not word[0].isalpha() or len(word) < 2 or word in _STOP or word.endswith(_SHORTENED):
        return False
    if word in _VERBS and not (inside and word in _NOUNY):
        return False
    return not (word.endswith("ly") and len(word) > 4) or word in _LY


def _close(found: list[Phrase], run: list[str], opener: str) -> None:
    words = run[-4:]
    while len(words) > 1 and words[0].lower().endswith(("ed", "ing")) and len(words) > 2:
        words = words[1:]
    if not words or sum(map(len, words)) < 3 or sum(map(len, words)) > 44:
        return
    if len(words) == 1 and (words[0].lower().endswith(("ed", "ing")) or len(words[0]) < 3):
        return
    text = " ".join(words)
    if not (len(words) > 1 and words[1][0].isupper()) and not words[0].isupper() and not _name(words[0], opener):
        text = text[0].lower() + text[1:]
    found.append(Phrase(text, opener))


def _name(word: str, opener: str) -> bool:
    """Whether a capital is a name's: it stands within a sentence."""
    return word[0].isupper() and opener not in ("", ".", "!", "?", ":", "\n", '"', "“", "#", "*")


@lru_cache(maxsize=4_096)
def subject(text: str) -> Phrase | None:
    """What a text is about: what follows "about", "of" or "with", comes first, is named often and at length."""
    named = phrases(text)
    if not named:
        return None
    counts = Counter(stem(word) for word in WORD.findall(text))
    whole = len(named)

    def weight(item: tuple[int, Phrase]) -> float:
        place, phrase = item
        words = phrase.text.split()
        led = 1.2 * (phrase.before in ("about", "on", "of", "with", "a", "an")) + 0.6 * (
            phrase.before in ("more", "for")
        )
        often = sum(counts[stem(word)] - 1 for word in words)
        return (
            led
            + 0.8 * min(len(words), 3)
            + 0.5 * min(often, 4)
            - 1.5 * place / whole
            - 0.8 * (words[0].lower() in _AGENTS)
        )

    return max(enumerate(named), key=weight)[1]


_AGENTS = frozenset(words("agents"))


_SHOULD = re.compile(
    r"\b(?:should|must|ought to|shall) (?:not )?(?:(?:the|our|a|every|all|your|this) )?(?:\w+ ){0,2}?(?P<verb>"
    + "|".join(words("doing"))
    + r")\b(?P<rest> [^,;:.?!\n]{3,70})",
    re.IGNORECASE,
)
_STATED = re.compile(r"\bshould (?:not )?be \w+", re.IGNORECASE)
_TAIL = re.compile(r"\s+(?:with|even|because|so that|in order|although|when|if|by)\b.*$", re.IGNORECASE)
_DOUBLED = re.compile(r"[^aeiou][aeiou][bdgmnptr]$")


@lru_cache(maxsize=4_096)
def proposal(text: str) -> str:
    """What a text says should be done, as the name of a deed ("closing the street to cars"); "" where it says none."""
    found = _SHOULD.search(text)
    if not found:
        return "the idea" if _STATED.search(text) else ""
    verb, rest = found["verb"].lower(), _TAIL.sub("", found["rest"])
    deed = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
    deed += deed[-1] if len(deed) < 5 and _DOUBLED.search(deed) else ""
    return f"{deed}ing{rest}" if len(rest.split()) <= 9 else "the idea"


def amounts(text: str) -> list[tuple[float, str]]:
    """The sums of money that a text names, as (amount, as written)."""
    return [
        (value, found[0].strip())
        for found in _AMOUNT.finditer(text[:4_000])
        if (value := number(found["a"] or found["b"])) is not None
    ]


def number(text: str) -> float | None:
    """The number that a text writes in digits, whichever sign parts thousands."""
    bare = text.strip()
    if re.fullmatch(r"-?\d{1,3}(?:[.,]\d{3})+", bare) and not bare.startswith("0"):
        bare = re.sub("[.,]", "", bare)
    elif "," in bare and "." in bare:
        bare = bare.replace(",", "") if bare.rindex(".") > bare.rindex(",") else bare.replace(".", "").replace(",", ".")
    else:
        bare = bare.replace(",", ".")
    try:
        return float(bare)
    except ValueError:
        return None


def joined(names: Iterable[str]) -> str:
    """Names as a list in a sentence."""
    known = list(names)
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}" if known else ""
