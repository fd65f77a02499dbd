"""The OpenAPI document tells the truth: schemathesis asks by it, as nobody and as an admin, over a real socket."""

import copy
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from app.auth import passwords
from tests.conftest import BOOTSTRAP, PASSWORD, copy_of, serving, settings_for
from tests.web.test_contract import populate
from tests.web.test_edge import loopback

EXAMPLES = 8
ENDS_THE_SESSION = {"logout", "change_password"}
MAKES_DATABASES = {"make_world"}
HAS_NO_END = {"read_events", "watch_simulation", "watch_dialogue"}
PLAIN = {
    "read_events": "text/event-stream",
    "watch_simulation": "text/event-stream",
    "watch_dialogue": "text/event-stream",
    "read_dialogue_analytics": "text/csv",
    "read_metrics": "text/plain",
    "read_experiment_plot": "image/svg+xml",
    "read_experiment_report": "text/html",
    "read_experiment_outcomes": "text/csv",
    "download_dataset": "application/zip",
    "make_study_link_sheet": "text/csv",
    "read_session_log": "application/x-ndjson",
    "export_study": "application/zip",
}
load_all_checks()
CHECKED: list[Any] = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "ignored_auth",
        "allow_header_conformance",
        "unsupported_method",
    ]
)


@pytest.fixture(scope="module")
async def world(server_url: str, template: str) -> AsyncIterator[str]:
    async with copy_of(server_url, template) as url:
        await populate(url)
        yield url


@pytest.fixture(scope="module")
def server(world: str) -> Iterator[str]:
    generous = {"login_attempts_per_account": 10**9, "login_attempts_per_ip": 10**9}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_verify", lambda password, stored: stored is not None and password == PASSWORD)
        with loopback(settings_for(world, **generous)) as address:
            yield address


@pytest.fixture(scope="module")
def token(server: str) -> dict[str, str]:
    person = {"username": "ada", "email": "ada@example.org", "password": PASSWORD, "bootstrap_token": BOOTSTRAP}
    with httpx2.Client(base_url=server) as client:
        assert client.post("/auths/register", json=person).status_code == 201
        answer = client.post("/auths/login", json={"username": "ada", "password": PASSWORD})
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture(scope="module")
def document(server: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{server}/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


@pytest.mark.parametrize("who", ["nobody", "admin"])
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_answers_are_as_documented(
    server: str, token: dict[str, str], who: str, mode: schemathesis.GenerationMode
) -> None:
    asked = 0
    for result in schemathesis.openapi.from_url(f"{server}/openapi.json").get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.definition.raw["operationId"] in HAS_NO_END:
            continue
        if who == "admin" and operation.definition.raw["operationId"] in ENDS_THE_SESSION | MAKES_DATABASES:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case[Any]) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers=token if who == "admin" else None, checks=CHECKED)

        try:
            ask()
        except Exception as error:
            if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):  # nothing can be wrong where nothing is sent
                raise
    assert asked > 15 * EXAMPLES


@pytest.mark.parametrize("lie", [{"required": ["shoe_size"]}, {"properties": {"bio": {"type": "integer"}}}], ids=str)
def test_control_a_document_that_lies_is_found_out(server: str, document: dict[str, Any], lie: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    changed["components"]["schemas"]["PersonaPublic"].update(lie)
    schema = schemathesis.openapi.from_dict(changed)
    schema.config.update(base_url=server)
    case = schema["/persona/{persona_id}"]["GET"].Case(path_parameters={"persona_id": 1})
    with pytest.raises(FailureGroup) as caught:
        case.call_and_validate(checks=CHECKED)
    assert [type(failure).__name__ for failure in caught.value.exceptions] == ["JsonSchemaError"]


def test_the_document_is_whole(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)) > 20
    tags = {tag["name"] for tag in document["tags"]}
    for path, _, operation in operations(document):
        assert operation["tags"], path
        assert set(operation["tags"]) <= tags
        assert operation["description"].rstrip().endswith((".", "!", "?")), path
        assert "summary" in operation
        for parameter in operation.get("parameters", []):
            assert parameter["schema"], path
        for status, answer in operation["responses"].items():
            assert answer["description"], (path, status)
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (path, status)
            elif status not in ("204", "304"):
                schema = answer["content"][PLAIN.get(operation["operationId"], "application/json")]["schema"]
                assert schema not in ({}, {"type": "object"}), (path, status)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))):
        assert name in document["components"]["schemas"], name
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_common_errors_are_documented(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        statuses = set(operation["responses"])
        assert statuses >= {"422", "429", "503"}, path
        assert ("401" in statuses) >= bool(operation.get("security")), path
        assert ("requestBody" in operation) == (statuses >= {"400", "408", "413", "415"}), path
        if "{" in path and path != "/posts/{page}":
            assert "404" in statuses, path


def test_every_body_is_closed(document: dict[str, Any]) -> None:
    """What is not named is refused, and the document says so."""
    bodies = 0
    for path, _, operation in operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            schema = media["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            if operation["tags"] == ["sessions"]:  # clients of another system may send more
                assert "additionalProperties" not in schema, path
            else:
                assert schema["additionalProperties"] is False, path
            bodies += 1
    assert bodies >= 8


async def test_every_public_read_documents_304(url: str) -> None:
    await populate(url)
    async with serving(settings_for(url)) as client:
        document = (await client.get("/openapi.json")).json()
        for path, method, operation in operations(document):
            if method != "get" or operation.get("security") or "relations" in path:
                continue
            if operation["operationId"] in PLAIN:
                continue
            concrete = re.sub(r"\{\w+\}", "1", path)
            first = await client.get(concrete)
            assert first.status_code == 200
            if tag := first.headers.get("etag"):
                again = await client.get(concrete, headers={"If-None-Match": tag})
                assert again.status_code == 304
                assert "304" in operation["responses"], path


def test_no_route_hides_from_the_document(document: dict[str, Any]) -> None:
    """Aliases and pages are the only routes that are not in it."""
    source = "\n".join(path.read_text() for path in Path("app/web").rglob("*.py"))
    hidden = re.findall(r'@router\.get\("([^"]+)"[^\n]*include_in_schema=False', source)
    assert set(hidden) <= {"/healthz", "/health"}
