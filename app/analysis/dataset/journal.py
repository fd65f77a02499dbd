"""What an unfinished package has: so that a build that was broken off goes on, as long as the world is what it was."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import strict_json
from app.analysis.dataset.landing import put, sha256_of
from app.analysis.dataset.reading import JOURNAL

Entries = list[dict[str, Any]]


@dataclass
class Journal:
    """`anew` says why files of an earlier try were thrown away."""

    folder: Path
    terms: str
    worlds: dict[str, dict[str, Any]] = field(default_factory=dict)
    anew: str = ""

    @classmethod
    def open(cls, folder: Path, terms: str) -> "Journal":
        """The journal of a folder; a new one where there is none, or it is of other terms."""
        journal = cls(folder, terms)
        for part in folder.rglob("*.part"):
            part.unlink()
        with suppress(OSError, strict_json.JSONError, TypeError, KeyError):
            found = strict_json.loads((folder / JOURNAL).read_bytes())
            if found["terms"] == terms:
                journal.worlds = dict(found["worlds"])
            else:
                journal.anew = "it was asked for otherwise, or by another version of the program"
                for prefix, world in found["worlds"].items():
                    journal._forget(prefix, world)
        journal._save()
        return journal

    def begin(self, prefix: str, guard: str) -> None:
        """A world is read; what was kept of it counts only if it is the same still."""
        held = self.worlds.get(prefix)
        if held is not None and held["guard"] != guard:
            self._forget(prefix, held)
            self.anew = "the world has changed since"
            held = None
        if held is None:
            self.worlds[prefix] = {"guard": guard, "files": []}
            self._save()

    def kept(self, prefix: str, paths: Sequence[str]) -> Entries | None:
        """The entries of these files, if all were finished and are still so."""
        held = {entry["path"]: entry for entry in self.worlds[prefix]["files"]}
        found = [held[path] for path in paths if path in held]
        for entry in found:
            there = self.folder / entry["path"]
            if not there.is_file() or sha256_of(there) != entry["sha256"]:
                return None
        return found if len(found) == len(paths) else None

    def note(self, prefix: str, entries: Entries) -> None:
        """These files are finished."""
        again = {entry["path"] for entry in entries}
        files = [entry for entry in self.worlds[prefix]["files"] if entry["path"] not in again]
        self.worlds[prefix]["files"] = [*files, *entries]
        self._save()

    def close(self) -> None:
        """The package is whole."""
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def _forget(self, prefix: str, world: dict[str, Any]) -> None:
        for entry in world["files"]:
            (self.folder / entry["path"]).unlink(missing_ok=True)
        shutil.rmtree(self.folder / f"{prefix}prompts", ignore_errors=True)

    def _save(self) -> None:
        put(self.folder / JOURNAL, json.dumps({"terms": self.terms, "worlds": self.worlds}).encode())
