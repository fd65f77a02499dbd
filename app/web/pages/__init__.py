"""The pages: everything a browser shows, over the same functions as the API."""

from app.web.pages import feed, frame
from app.web.pages.admin import login
from app.web.pages.errors import error_page

PAGES = (frame.router, feed.router, login.router)
__all__ = ["PAGES", "error_page"]
