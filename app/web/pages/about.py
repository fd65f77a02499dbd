"""What this place is, said plainly."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.web.deps import TheHouse
from app.web.pages.frame import render
from app.web.pages.session import MaybeViewer

router = APIRouter(include_in_schema=False)


@router.get("/about")
async def about_page(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
    """What this is, how it works, and how its marks are read."""
    model = house.settings.simfeed_model
    return render(request, "about.html", viewer=viewer, model=model, interval=house.settings.scheduler_job_interval)
