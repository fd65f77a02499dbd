"""What goes along with a package's tables: prompts, codebook, notebook, README, and what catalogues read."""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.agent.prompt import PROMPTS, texts_sha256
from app.analysis.dataset import codebook, metadata
from app.analysis.dataset.landing import landed, put
from app.analysis.dataset.licences import licence
from app.analysis.dataset.notebook import notebook
from app.analysis.dataset.options import GRAPHML, Build, Extra, Source
from app.analysis.dataset.reading import FORMAT, FORMAT_VERSION, MANIFEST
from app.analysis.dataset.schema import SHOWN
from app.errors import Invalid


def put_along(work: Build, sources: Sequence[Source], extras: Mapping[str, Extra]) -> dict[str, Any]:
    """All that goes with the tables; the manifest is written last."""
    options, wanted = work.options, work.options.shapes()
    names = ", ".join(source.name for source in sources)
    now = datetime.now(UTC)
    about = metadata.About(
        options.title or f"Sim-Feed: {names}",
        options.description
        or f"{'Worlds' if len(sources) > 1 else 'A world'} of Sim-Feed, a social network whose members are personas "
        f"played by a language model: {names}.",
        now.date().isoformat(),
        version("simfeed"),
        options.authors,
        licence(options.licence),
        options.url,
    )
    for prompt in sorted(PROMPTS.glob("*.md")):
        work.put(f"prompts/of_program/{prompt.name}", prompt.read_bytes(), "A prompt of the program that made this.")
    for path, extra in extras.items():
        _extra(work, path, extra)
    work.put("codebook.json", codebook.as_json(wanted), "What tables and columns mean.")
    work.put("codebook.csv", codebook.as_csv(wanted), "What tables and columns mean, a row for each column.")
    work.put("codebook.md", codebook.as_markdown(wanted), "What tables and columns mean, for people.")
    form, prefixes = options.forms()[0], [source.prefix for source in sources]
    graph = GRAPHML in options.formats
    book = notebook(about.title, form, prefixes, [shape.name for shape in wanted], network=graph)
    work.put("analysis.ipynb", book, "A notebook that runs in this folder.")
    work.put("CITATION.cff", metadata.citation(about), "How to cite it.")
    work.put("README.md", _readme(work, about, prefixes, sorted(extras)), "What this is.")
    sets = {f"{p}{s.name}": (f"{p}data/{s.name}.{form}", s) for p in prefixes for s in wanted}
    work.put("croissant.json", metadata.croissant(about, work.files, sets), "Croissant 1.1.")
    listed = [*work.files, {"path": MANIFEST, "about": "All files, with rows, bytes and SHA-256."}]
    work.put("ro-crate-metadata.json", metadata.crate(about, listed), "RO-Crate 1.2.")
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": about.title,
        "created_at": now.isoformat(),
        "program": {"name": "simfeed", "version": version("simfeed")},
        "schema": work.revisions.copy().pop(),
        "prompts_sha256": texts_sha256(),
        "pseudonyms": options.pseudonyms,
        "spreadsheet_safe": options.spreadsheet_safe,
        "worlds": work.worlds,
        "files": sorted(work.files, key=lambda one: str(one["path"])),
    }
    put(work.folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n")
    return manifest


def _extra(work: Build, path: str, extra: Extra) -> None:
    if any(one["path"] == path for one in work.files):
        raise Invalid(f"{path}: is a file of the package already")
    with landed(work.folder / path) as part:
        if isinstance(extra, bytes):
            part.write_bytes(extra)
        elif isinstance(extra, Path):
            shutil.copyfile(extra, part)
        else:
            extra(part)
    work.add(path, about="Goes along with the worlds.", extra=True)


def _readme(work: Build, about: metadata.About, prefixes: Sequence[str], extras: Sequence[str]) -> bytes:
    options = work.options
    where = ", ".join(f"`{prefix}data/`" for prefix in prefixes) + f" as {', '.join(options.forms())}"
    graph = (
        ", ".join(f"`{prefix}network.graphml`" for prefix in prefixes)
        if GRAPHML in options.formats
        else "not asked for"
    )
    more = "".join(f"\n- `{path}`" for path in extras)
    return metadata.README.format(
        title=about.title,
        description=about.description,
        day=about.day,
        version=about.version,
        where=where,
        network=graph,
        safe=metadata.SAFE if options.spreadsheet_safe else "",
        pseudonyms=metadata.NAMED[options.pseudonyms]
        + (
            "" if SHOWN.name not in {s.name for s in options.shapes()} else " `exposure_items` is `exposures` unrolled."
        ),
        extras=f"\nAlong with it:\n{more}\n" if extras else "",
    ).encode()
