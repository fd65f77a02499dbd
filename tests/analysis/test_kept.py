"""What was reckoned is kept by all that it hangs on, within so many bytes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.analysis.kept import Kept


def test_equal_questions_are_answered_once_and_others_anew() -> None:
    kept, asked = Kept(1000), []

    def answer(question: bytes) -> bytes:
        def made() -> bytes:
            asked.append(question)
            return question * 2

        return kept.of(question, made)

    assert [answer(one) for one in (b"a", b"b", b"a", b"")] == [b"aa", b"bb", b"aa", b""]
    assert [answer(one) for one in (b"b", b"")] == [b"bb", b""]
    assert asked == [b"a", b"b", b""]


def test_what_was_not_asked_for_longest_goes_first() -> None:
    kept = Kept(10)
    for name in (b"a", b"b"):
        kept.of(name, lambda: b"12345")
    kept.of(b"a", lambda: b"is there")
    kept.of(b"c", lambda: b"12345")
    assert kept.of(b"a", lambda: b"anew") == b"12345"
    assert kept.of(b"b", lambda: b"anew") == b"anew"


def test_what_is_too_large_is_given_and_not_kept() -> None:
    kept = Kept(10)
    kept.of(b"a", lambda: b"12345")
    assert kept.of(b"large", lambda: b"0" * 11) == b"0" * 11
    assert kept.of(b"large", lambda: b"anew") == b"anew"
    assert kept.of(b"a", lambda: b"anew") == b"12345"


def test_what_fails_is_not_kept() -> None:
    kept = Kept(10)
    with pytest.raises(ZeroDivisionError):
        kept.of(b"a", lambda: bytes(1 // 0))
    assert kept.of(b"a", lambda: b"well") == b"well"


def test_many_threads_keep_no_more_than_there_is_room_for() -> None:
    kept = Kept(100)

    def ask(n: int) -> bytes:
        return kept.of(b"%d" % (n % 30), lambda: b"%09d" % (n % 30))

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(3000)))
    assert found == [b"%09d" % (n % 30) for n in range(3000)]
    assert kept._size == sum(map(len, kept._found.values())) <= 100
