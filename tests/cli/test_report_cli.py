"""`simfeed report`: a page on stdout or in a file, plots as files, and one clear line for what is wrong."""

from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from app.cli.report import report
from app.errors import Invalid
from tests.cli.test_cli import SEED, data, simfeed


def test_a_report_and_its_plots(url: str, tmp_path: Path) -> None:
    assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
    assert simfeed(url, "run", "--seed", "3", "--cycles", "2", "--clock", "simulated").returncode == 0
    page, folder = tmp_path / "report.html", tmp_path / "figures"
    told = data(simfeed(url, "report", "-o", str(page), "--plots", str(folder), "--format", "svg,png,csv", "--json"))
    assert told["title"] == "The home world"
    written = {Path(one["file"]): one["bytes"] for one in told["files"]}
    assert {path: path.stat().st_size for path in [page, *folder.iterdir()]} == written
    assert len(written) == 1 + 3 * told["plots"]
    for path in folder.iterdir():
        body = path.read_bytes()
        assert path.suffix != ".png" or body.startswith(b"\x89PNG")
        assert path.suffix != ".svg" or fromstring(body).get("role") == "img"
    again = simfeed(url, "report", "-o", "-")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == page.read_text()
    assert "How to make it again" in again.stdout
    for words, wrong in (
        (["-o", "-", "--runs", "99"], "no run has the number 99"),
        (["--plots", str(folder), "--format", "gif"], "gif"),
    ):
        done = simfeed(url, "report", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert wrong in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert simfeed(url, "report", "-o", str(page / "no" / "x.html")).returncode == 78


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(Invalid, match=r"-o report\.html"):
        report()
    with pytest.raises(Invalid, match="stdout"):
        report(out=Path("-"), json=True)
