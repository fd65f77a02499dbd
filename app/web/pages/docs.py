"""The API, documented: a tutorial, and a reference made from the OpenAPI document itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from fastapi import APIRouter, FastAPI
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from app import errors
from app.web.pages.frame import render, templates
from app.web.pages.session import MaybeViewer
from app.world.text import INT64_MAX

router = APIRouter(include_in_schema=False)
Schema: TypeAlias = dict[str, Any]
BOUNDS = {
    "minimum": "from {}",
    "ge": "from {}",
    "maximum": "to {}",
    "le": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} entries",
}
ADVICE = {
    "Unauthorized": "Sign in by `POST /auths/login` and send `Authorization: Bearer` with the `access_token`. A token"
    " that has run out, or whose session was ended, is answered like none.",
    "Forbidden": "What you sent proves less than is asked for: a wrong or used bootstrap or invitation token, or a form"
    " of another site.",
    "NotFound": "Nothing has this id or handle, or it departed or is in quarantine. A handle can be given to another"
    " persona later; an id never is.",
    "Conflict": "Somebody was faster, or the name is taken: read it again, and send what is still to be done.",
    "Invalid": "`errors` names each place by JSON Pointer or parameter, with a `code` for programs and a `message` for"
    " people. Mend these and send it again.",
    "TooMany": "Wait as many seconds as `Retry-After` says. Every answer tells in `RateLimit-Remaining` what is left.",
    "Unavailable": "The database is away or too busy, and nothing was changed. Try again after `Retry-After`.",
    "Misconfigured": "The operator has to mend something before this can run; `simfeed doctor` says what.",
}
AT_THE_EDGE = {
    400: "The body is not JSON, or names a key twice. Look at the place that `detail` names.",
    405: "There is such an address, but not for this method; `Allow` lists those it takes.",
    408: "The body came too slowly. Send it again, in one go.",
    413: "The body is larger than 256 KB (4 MB where sessions and populations are begun). Send less at once.",
    414: "The query string is longer than 8 KB.",
    415: "Bodies are sent as `application/json`.",
    431: "The header fields are larger than 32 KB together.",
    500: "A mistake of ours. It is in the log under the request id that `instance` ends with; tell an admin of it.",
}


@dataclass(frozen=True)
class Failure:
    """An error that the API may answer with."""

    key: str
    status: int
    title: str
    advice: str


def _failures() -> list[Failure]:
    """Every error of `app/errors.py`, and those that a request meets before any route, by status."""
    kinds = [k for k in errors.AppError.__subclasses__() if k.__module__ == errors.__name__]
    named = [Failure(kind.__name__, kind.status, kind.title, ADVICE[kind.__name__]) for kind in kinds]
    plain = [Failure(f"Status{code}", code, HTTPStatus(code).phrase, advice) for code, advice in AT_THE_EDGE.items()]
    return sorted((*named, *plain), key=lambda failure: (failure.status, failure.key))


FAILURES = _failures()


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body or an answer."""

    name: str
    place: str
    required: bool
    kind: str
    schema: str
    about: str
    default: str


@dataclass(frozen=True)
class Answer:
    """What comes back under a status."""

    status: str
    about: str
    kind: str
    schema: str


@dataclass(frozen=True)
class Operation:
    """A route and method."""

    id: str
    method: str
    path: str
    about: str
    signed_in: bool
    streams: bool
    parameters: list[Field]
    body: Field | None
    answers: list[Answer]

    @property
    def triable(self) -> bool:
        """Whether asking changes nothing, and comes to an end."""
        return self.method == "GET" and not self.streams


@dataclass(frozen=True)
class Section:
    """The operations of a tag."""

    tag: str
    about: str
    operations: list[Operation]


@dataclass(frozen=True)
class Shape:
    """A schema: its fields, or the values it may have."""

    name: str
    about: str
    fields: list[Field]
    kind: str
    example: str


@dataclass(frozen=True)
class Reference:
    """All that the OpenAPI document says, as the page shows it."""

    sections: list[Section]
    shapes: list[Shape]
    count: int


def _named(schema: Schema) -> str:
    """The schema that this one names, itself or within."""
    for part in (schema, schema.get("items", {}), *schema.get("anyOf", [])):
        if isinstance(part, dict) and "$ref" in part:
            return str(part["$ref"]).rpartition("/")[2]
    return ""


def _kind(schema: Schema) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_kind(part) for part in schema.get("anyOf") or schema["oneOf"])
    if "const" in schema:
        return _json(schema["const"])
    if "enum" in schema:
        return " · ".join(map(_json, schema["enum"]))
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    elif kind == "string" and "format" in schema:
        kind = str(schema["format"])
    bounds = [
        words.format(_number(schema[key])) for key, words in BOUNDS.items() if schema.get(key, INT64_MAX) != INT64_MAX
    ]
    return f"{kind}, {' '.join(bounds)}" if bounds else kind


def _number(value: Any) -> str:
    return f"{int(value):,}" if isinstance(value, int | float) and value == int(value) else str(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _field(name: str, schema: Schema, *, place: str = "", required: bool, about: str = "") -> Field:
    given = "default" in schema and schema["default"] not in (None, [], {}, "")
    return Field(
        name,
        place,
        required,
        _kind(schema),
        _named(schema),
        about or str(schema.get("description", "")),
        _json(schema["default"]) if given else "",
    )


def _body(operation: Schema) -> Field | None:
    if "requestBody" not in operation:
        return None
    body = operation["requestBody"]
    kind, schema = _first(body["content"])
    return _field(kind, schema, place="body", required=body.get("required", False))


def _first(content: Schema | None) -> tuple[str, Schema]:
    """The first of the kinds that a body may be of, and its schema."""
    for kind, described in (content or {}).items():
        return kind, described.get("schema", {})
    return "", {}


def _answers(operation: Schema) -> Iterator[Answer]:
    for status, answer in sorted(operation["responses"].items()):
        about = answer["description"].replace("Successful Response", "Done." if status == "204" else "Here it is.")
        kind, schema = _first(answer.get("content"))
        yield Answer(status, about, _kind(schema) if schema else kind, _named(schema))


def _operation(path: str, method: str, operation: Schema) -> Operation:
    found = [
        _field(p["name"], p["schema"], place=p["in"], required=p.get("required", False), about=p.get("description", ""))
        for p in operation.get("parameters", [])
    ]
    answers = list(_answers(operation))
    streams = any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())
    return Operation(
        operation["operationId"],
        method.upper(),
        path,
        operation.get("description", ""),
        bool(operation.get("security")),
        streams,
        found,
        _body(operation),
        answers,
    )


def _shape(name: str, schema: Schema) -> Shape:
    required = schema.get("required", [])
    fields = [_field(key, value, required=key in required) for key, value in schema.get("properties", {}).items()]
    example = msgspec.json.format(msgspec.json.encode(schema["example"])).decode() if "example" in schema else ""
    return Shape(name, schema.get("description", ""), fields, _kind(schema), example)


def reference(document: Schema) -> Reference:
    """The OpenAPI document as sections of operations, and shapes."""
    operations = [
        (operation.get("tags", ["other"])[0], _operation(path, method, operation))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    abouts = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    tags = dict.fromkeys([*abouts, *(tag for tag, _ in operations)])
    sections = [Section(tag, abouts.get(tag, ""), [o for given, o in operations if given == tag]) for tag in tags]
    shapes = [_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return Reference([section for section in sections if section.operations], shapes, len(operations))


def _reference(app: FastAPI) -> Reference:
    if not hasattr(app.state, "reference"):
        app.state.reference = reference(app.openapi())
    found = app.state.reference
    assert isinstance(found, Reference)  # noqa: S101 - nobody else writes it
    return found


def code(text: str) -> Markup:
    """Text whose `words` between backticks are code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 and n < len(parts) - 1 else part for n, part in enumerate(parts)
    )


templates.filters["code"] = code


@router.get("/docs")
async def docs_page(request: Request, viewer: MaybeViewer) -> Response:
    """The documentation of the API."""
    return render(
        request,
        "docs.html",
        viewer=viewer,
        reference=_reference(request.app),
        failures=FAILURES,
        server=f"{request.url.scheme}://{request.url.netloc}",
    )
