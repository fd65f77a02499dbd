"""Packages of data over the API: built beside the request, then downloaded."""

from typing import Annotated

import asyncpg
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from app.venues.session.exactly import EXACTLY
from app.web.api.experiment_schemas import DatasetOut, DatasetsPage, DatasetWish, DoiWish
from app.web.api.schemas import problems
from app.web.deps import House, TheAdmin, TheHouse
from app.web.experiment_deeds import at_home, noted
from app.web.inputs import Cursor, Limit, next_cursor, read_cursor
from app.web.packing import Packing
from app.world import datasets
from app.world.datasets import DATASETS
from app.world.text import INT64_MAX

router = APIRouter(prefix="/datasets", tags=["experiments"])
Key = Annotated[str, Path(pattern=r"^[a-hjkmnp-z2-9]{12}$", description="The `key` of the answer.")]


def packing_of(request: Request) -> Packing:
    """That of this server."""
    found = request.app.state.packing
    assert isinstance(found, Packing)  # noqa: S101 - the lifespan has set it
    return found


async def _one(house: House, key: str) -> DatasetOut:
    async with at_home(house) as home:
        return DatasetOut.model_validate(datasets.told(await datasets.found(home, key)))


@router.post("", operation_id="build_dataset", status_code=202, responses=problems(401, 404, 409, body=True))
async def build_dataset(
    request: Request, response: Response, house: TheHouse, admin: TheAdmin, given: Annotated[DatasetWish, EXACTLY]
) -> DatasetOut:
    """Begin to build a package of a world, or of an experiment with the worlds of its runs."""
    async with at_home(house) as home:
        asked = given.model_dump(exclude_unset=True, exclude={"kind", "about"})
        key = await packing_of(request).begin(given.kind, given.about, asked, by=admin.admin.id)
        await noted(home, admin.admin.id, "dataset.begun", key, of=f"{given.kind} {given.about}")
    response.headers["Location"] = f"/datasets/{key}"
    return await _one(house, key)


@router.get("", operation_id="list_datasets", response_model=DatasetsPage, responses=problems(401, 409))
async def list_datasets(
    request: Request, house: TheHouse, _: TheAdmin, limit: Limit = 20, cursor: Cursor | None = None
) -> Response:
    """Packages, newest first."""
    scope = ("datasets",)
    before = int(read_cursor(house.secret, scope, cursor)[0]) if cursor is not None else INT64_MAX
    async with at_home(house) as home:
        rows = await home.fetch(DATASETS["listed"], before, limit + 1)
    following = next_cursor(house.secret, scope, rows, limit)
    data = [DatasetOut.model_validate(datasets.told(row)) for row in rows[:limit]]
    page = DatasetsPage(data=data, next_cursor=following, has_more=following is not None)
    link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return JSONResponse(page.model_dump(mode="json"), headers=link)


@router.get("/{key}", operation_id="read_dataset", responses=problems(401, 404, 409))
async def read_dataset(house: TheHouse, _: TheAdmin, key: Key) -> DatasetOut:
    """How a package stands."""
    return await _one(house, key)


@router.get(
    "/{key}/download",
    operation_id="download_dataset",
    response_class=Response,
    responses={
        **problems(401, 404, 409),
        200: {"description": "The package.", "content": {"application/zip": {"schema": {"type": "string"}}}},
    },
)
async def download_dataset(request: Request, house: TheHouse, _: TheAdmin, key: Key) -> Response:
    """The package as a zip file."""
    async with at_home(house) as home:
        return await package_file(request, await datasets.found(home, key))


async def package_file(request: Request, row: asyncpg.Record) -> Response:
    """A package's file, to be kept."""
    path = await packing_of(request).file(row["key"])
    name = f"{row['kind']}-{row['about']}-{row['key']}.zip"
    headers = {"Cache-Control": "private, no-store"}
    return FileResponse(path, filename=name, media_type="application/zip", headers=headers)


@router.patch("/{key}", operation_id="publish_dataset", responses=problems(401, 404, 409, body=True))
async def publish_dataset(house: TheHouse, admin: TheAdmin, key: Key, given: Annotated[DoiWish, EXACTLY]) -> DatasetOut:
    """Say under which DOI a package is published."""
    await with_doi(house, admin.admin.id, key, given.doi)
    return await _one(house, key)


async def with_doi(house: House, by: int, key: str, doi: str) -> None:
    """Keep a DOI.

    Raises:
        NotFound: there is no such package.
    """
    async with at_home(house) as home:
        await datasets.found(home, key)
        await home.fetchval(DATASETS["doi"], key, doi)
        await noted(home, by, "dataset.published", key, doi=doi)


@router.delete("/{key}", operation_id="delete_dataset", status_code=204, responses=problems(401, 404, 409))
async def delete_dataset(request: Request, house: TheHouse, admin: TheAdmin, key: Key) -> None:
    """Delete a package with its file, for ever."""
    async with at_home(house) as home:
        await packing_of(request).drop(key)
        await noted(home, admin.admin.id, "dataset.deleted", key)
