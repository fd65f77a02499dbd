"""What the address of a page asks for, checked as the API checks it."""

from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

Q = TypeVar("Q", bound=BaseModel)


def checked(model: type[Q], request: Request) -> Q:
    """The query parameters as `model`; an empty field of a form counts as not given.

    Raises:
        RequestValidationError: they can't be.
    """
    given = {name: value for name, value in request.query_params.items() if value.strip()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("query", *e["loc"])} for e in error.errors()]) from None
