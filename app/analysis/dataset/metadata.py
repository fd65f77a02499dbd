"""What catalogues read: RO-Crate 1.2, Croissant 1.1, a citation file, and the README."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from app.analysis.dataset.codebook import entries
from app.analysis.dataset.schema import Field, Shape, references

MEDIA = {
    ".cff": "application/yaml", ".csv": "text/csv", ".graphml": "application/graphml+xml", ".html": "text/html",
    ".ipynb": "application/x-ipynb+json", ".json": "application/json", ".jsonl": "application/jsonl",
    ".md": "text/markdown", ".parquet": "application/vnd.apache.parquet", ".png": "image/png", ".svg": "image/svg+xml",
    ".toml": "application/toml", ".txt": "text/plain", ".yaml": "application/yaml", ".yml": "application/yaml",
}  # fmt: skip
"""Media types by a file's ending."""

READ_AS = {".parquet": "application/x-parquet", ".jsonl": "application/jsonlines"}
"""What Croissant's own reader calls them."""

NO_LICENCE = "No licence is stated: ask whoever gave you this dataset before you use or pass it on."
CROISSANT = {
    "integer": "sc:Integer", "number": "sc:Float", "boolean": "sc:Boolean", "text": "sc:Text", "json": "sc:Text",
    "bytes": "sc:Text", "time": "sc:DateTime", "date": "sc:Date", "integers": "sc:Integer", "numbers": "sc:Float",
    "texts": "sc:Text",
}  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a dataset says of itself. `day` is a date (ISO 8601), `version` the program's, `url` where it lies."""

    title: str
    description: str
    day: str
    version: str
    authors: tuple[str, ...] = ()
    licence: str = ""
    url: str = ""

    @property
    def edition(self) -> str:
        """The dataset's version: its day as MAJOR.MINOR.PATCH, for the same is never built on two days."""
        return ".".join(str(int(part)) for part in self.day.split("-"))


def media_type(path: str) -> str:
    """The media type of a file of a package."""
    return MEDIA.get(PurePosixPath(path).suffix.lower(), "application/octet-stream")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def citation(about: About) -> bytes:
    """CITATION.cff 1.2.0. Where nobody is named as the author, it says that."""
    found: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite it as below.",
        "type": "dataset",
        "title": about.title,
        "abstract": about.description,
        "version": about.edition,
        "date-released": about.day,
        "authors": [{"name": name} for name in about.authors or ("author not stated",)],
    }
    if about.licence.startswith(("http://", "https://")):
        found["license-url"] = about.licence
    elif about.licence:
        found["license"] = about.licence
    if about.url:
        found["url"] = about.url
    text: str = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()


def _licence(about: About) -> tuple[str, list[dict[str, Any]]]:
    if about.licence.startswith(("http://", "https://")):
        return about.licence, [{"@id": about.licence, "@type": "CreativeWork", "name": about.licence,
                                "description": "The licence of this dataset."}]  # fmt: skip
    if about.licence:
        found = f"https://spdx.org/licenses/{about.licence}"
        return found, [{"@id": found, "@type": "CreativeWork", "name": about.licence,
                        "description": "The licence of this dataset."}]  # fmt: skip
    return "#licence", [{"@id": "#licence", "@type": "CreativeWork", "name": "not stated", "description": NO_LICENCE}]


def crate(about: About, files: Sequence[Mapping[str, Any]]) -> bytes:
    """`ro-crate-metadata.json`; of each file `path`, and where they are known `bytes`, `sha256` and `about`."""
    licence, licences = _licence(about)
    people = [{"@id": f"#author-{n}", "@type": "Person", "name": name} for n, name in enumerate(about.authors, 1)]
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.title,
        "description": about.description,
        "datePublished": about.day,
        "version": about.edition,
        "license": {"@id": licence},
        "hasPart": [{"@id": _iri(one["path"])} for one in files],
    }
    if people:
        root["author"] = [{"@id": one["@id"]} for one in people]
    parts = []
    for one in files:
        part = {
            "@id": _iri(one["path"]),
            "@type": "File",
            "name": PurePosixPath(one["path"]).name,
            "description": one.get("about") or "A file of this dataset.",
            "encodingFormat": media_type(one["path"]),
        }
        if "bytes" in one:
            part |= {"contentSize": str(one["bytes"]), "sha256": one["sha256"]}
        parts.append(part)
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.2"},
    }
    graph = [descriptor, root, *parts, *people, *licences]
    return _json({"@context": "https://w3id.org/ro/crate/1.2/context", "@graph": graph})


def _iri(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/._-~")


CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isArray": "cr:isArray", "arrayShape": "cr:arrayShape",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip


def croissant(
    about: About,
    files: Sequence[Mapping[str, Any]],
    tables: Mapping[str, tuple[str, Shape]],
) -> bytes:
    """`croissant.json`. `tables` are record sets by name (`PREFIX/TABLE`): the path of the file that holds them."""
    licence, _ = _licence(about)
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": about.title,
        "description": about.description,
        "datePublished": about.day,
        "version": about.edition,
        "license": licence if about.licence else NO_LICENCE,
        "url": about.url or "./",
        "citeAs": f"{', '.join(about.authors) or 'author not stated'}: {about.title} ({about.day[:4]})",
        "creator": [{"@type": "sc:Person", "name": name} for name in about.authors]
        or [{"@type": "sc:Organization", "name": "author not stated"}],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": one["path"],
                "name": one["path"],
                "description": one.get("about") or "A file of this dataset.",
                "contentUrl": one["path"],
                "contentSize": f"{one['bytes']} B",
                "encodingFormat": READ_AS.get(PurePosixPath(one["path"]).suffix, media_type(one["path"])),
                "sha256": one["sha256"],
            }
            for one in files
        ],
        "recordSet": [_records(name, path, shape, tables) for name, (path, shape) in tables.items()],
    }
    return _json(found)


def _records(name: str, path: str, shape: Shape, tables: Mapping[str, tuple[str, Shape]]) -> dict[str, Any]:
    prefix = name.removesuffix(shape.name)
    meanings = {one.column: one.meaning for one in entries([shape])}
    null = {one.name for one in shape.fields if one.null}  # readers join by references, and stumble over NULL
    refers = {
        own[0]: f"{prefix}{parent}/{there[0]}"
        for own, parent, there in references(shape.name)
        if len(own) == 1 and own[0] not in null and f"{prefix}{parent}" in tables
    }
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"The table {shape.name}.",
        "key": [{"@id": f"{name}/{column}"} for column in shape.key],
        "field": [_field(name, path, field, meanings[field.name], refers.get(field.name)) for field in shape.fields],
    }


def _field(name: str, path: str, field: Field, meaning: str, refers: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{name}/{field.name}",
        "name": f"{name}/{field.name}",
        "description": meaning,
        "dataType": CROISSANT[field.kind],
        "source": {"fileObject": {"@id": path}, "extract": {"column": field.name}},
    }
    if field.kind in ("integers", "numbers", "texts") and path.endswith((".parquet", ".jsonl")):
        found |= {"isArray": True, "arrayShape": "-1"}
    if refers is not None:
        found["references"] = {"field": {"@id": refers}}
    return found


README = """# {title}

{description}

Made on {day} by Sim-Feed {version}. `manifest.json` lists every file with its rows, bytes and SHA-256, and the
canonical hash of each world; it was written last, so a package without one is not whole.

| what | where |
|---|---|
| tables | {where} |
| what tables and columns mean | `codebook.md`, `codebook.csv`, `codebook.json` |
| the network: who follows, likes, answers, quotes whom | {network} |
| texts that prompts share, by their SHA-256; this program's own prompts | `prompts/`, `prompts/of_program/` |
| a notebook that runs in this folder | `analysis.ipynb` |
| how to cite it | `CITATION.cff` |
| for catalogues | `ro-crate-metadata.json` (RO-Crate 1.2), `croissant.json` (Croissant 1.1) |

## Reading it

- All of a world is of one moment. Rows are in the order of their key. Times are UTC.
- **Parquet**: typed; JSON is a text, bytes are bytes (`cast(pl.String)` makes prompts and answers of `calls` readable).
- **CSV**: RFC 4180, UTF-8, lines end in LF, line ends within texts are as they were. Every text stands in quotes:
  `""` is an empty text, a cell with nothing in it is NULL. polars tells them apart (`pl.read_csv(path)`); pandas makes
  NaN of both, and with `keep_default_na=False` an empty text of both. Bytes are `\\x` and hexadecimal digits, lists
  JSON arrays, true and false are `true` and `false`.{safe}
- **JSON lines**: one object a row. JSON columns are values, not texts; one that is NULL has no key, so that `null` is
  JSON's own. NaN, Infinity and -Infinity, which JSON lacks, are texts.
- Texts were written by personas (language models) or by outsiders: take nothing in them for instructions, and escape
  them before you show them.

{pseudonyms}

`simfeed dataset check FOLDER` verifies all of it; `simfeed dataset import FOLDER --as NAME` makes the world again.
{extras}"""

SAFE = """
  An apostrophe stands before texts that begin as a formula would (`=`, `+`, `-`, `@`, tab, line end), and before those
  that begin with apostrophes and then so: take the first one away to have the text as it was."""

NAMED = {
    "none": "Personas have the names they had.",
    "names": "Usernames, display names and names in sessions are replaced by `member_` and the persona's number. Texts "
    "are as they were, so that a name that somebody wrote can still be read in them.",
    "all": "Usernames, display names and names in sessions are replaced by `member_` and the persona's number, in "
    "texts, prompts and answers too. Hashes of requests are those of the requests as they were sent, before that.",
}
