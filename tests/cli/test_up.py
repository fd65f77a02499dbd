"""`simfeed up`, as a newcomer meets it: from an empty folder to a feed, through a kill -9, to a clean end."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import embedded
from tests.cli.test_cli import SIMFEED
from tests.conftest import free_port


class Up:
    """A running `simfeed up`."""

    def __init__(self, home: Path, *args: str) -> None:
        self.port = free_port()
        self.home = home
        self.log = home.with_suffix(".log")
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "SIMFEED_HOME": str(home)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*SIMFEED, "up", "--port", str(self.port), *args],
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def wait(self) -> "Up":
        for _ in range(1_200):
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.get("/readyz")
            except OSError:
                time.sleep(0.1)
            else:
                return self
        raise AssertionError(self.log.read_text())

    def end(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("up") / "home"
    yield found
    embedded.stop(found)
    embedded.remove(found)


def test_from_nothing_to_a_feed_and_through_a_kill(home: Path) -> None:
    first = Up(home).wait()
    try:
        posts = first.get("/posts?limit=100")["posts_found"]
        assert len(posts) >= 20
        assert len({post["author_id"] for post in posts}) >= 10
        assert sum(post["comments_count"] + post["likes_count"] for post in posts) > 0
        assert "sf_boot_" in first.log.read_text()
        assert (home / "secrets.json").stat().st_mode & 0o777 == 0o600
        secrets = (home / "secrets.json").read_text()
        taken = Up(home)
        taken_port = subprocess.run(
            [*SIMFEED, "up", "--port", str(first.port), "--home", str(home)], capture_output=True, text=True, timeout=60
        )
        assert taken_port.returncode == 69
        assert f"can't listen on 127.0.0.1:{first.port}" in taken_port.stderr
        assert taken.wait().get("/posts?limit=100") == first.get("/posts?limit=100")
        assert taken.end(signal.SIGINT) in (0, 130, -signal.SIGINT)
        assert first.get("/readyz")["status"] == "ready"
    finally:
        first.end(signal.SIGKILL)
    again = Up(home).wait()
    try:
        kept = again.get("/posts?limit=100")["posts_found"]
        assert [post["id"] for post in kept[-len(posts) :]] == [post["id"] for post in posts]
        assert (home / "secrets.json").read_text() == secrets
    finally:
        assert again.end(signal.SIGINT) in (0, 130, -signal.SIGINT)
    assert embedded.status(home).running is False


def test_sigterm_ends_what_it_started(home: Path) -> None:
    up = Up(home, "--no-cycle").wait()
    assert embedded.status(home).running is True
    assert up.get("/posts")["posts_found"] == []
    assert up.end(signal.SIGTERM) in (0, 143, -signal.SIGTERM)
    assert embedded.status(home).running is False
