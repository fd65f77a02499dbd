"""Files of designs: JSON, TOML and YAML, each read whole or refused with a sentence that says where it is wrong."""

import tomllib
from collections.abc import Hashable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]

from app import strict_json
from app.errors import Invalid, NotFound

FILE_MOST = 4 * 2**20
YAML_MOST, EVENTS_MOST, DEPTH_MOST, SIZE_MOST = 2**20, 50_000, 32, 50_000
"""Bytes of YAML, marks in it, how deep it goes, and values that it holds once its aliases are written out."""

NUMBER_MOST = 400
TAG = "tag:yaml.org,2002:"


class _YAMLError(Exception):
    def __init__(self, message: str, mark: Any = None) -> None:
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        super().__init__(f"{place}{message}")


def read_value(path: Path) -> Any:
    """The value in a JSON, TOML or YAML file; which it is, its name tells.

    Raises:
        NotFound: there is no such file.
        Invalid: it can't be read, is too large, or not well-formed.
    """
    return value_of(read_bytes(path), path.name)


def value_of(data: bytes, name: str) -> Any:
    """The value in what a file of that name holds.

    Raises:
        Invalid: it is not well-formed.
    """
    match Path(name).suffix.lower():
        case ".yaml" | ".yml":
            return yaml_value(data, name)
        case ".toml":
            return toml_value(data, name)
        case ".json":
            return _json_value(data, name)
    raise Invalid(f"{name}: must end in .json, .toml, .yaml or .yml")


def value_of_any(data: bytes, name: str) -> Any:
    """The value in what has no file's name to tell what it is, as standard input.

    Raises:
        Invalid: it is neither JSON, TOML nor YAML.
    """
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _json_value(data, name)
    try:
        return toml_value(data, name)
    except Invalid as toml:
        try:
            return yaml_value(data, name)
        except Invalid as other:
            raise Invalid(f"{toml.detail}; {other.detail.removeprefix(f'{name}: ')}") from None


def read_bytes(path: Path, most: int = FILE_MOST) -> bytes:
    """A file of at most so many bytes.

    Raises:
        NotFound, Invalid: as `read_value`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise Invalid(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > most:
        raise Invalid(f"{path.name}: is larger than {most:,} bytes")
    return data


def _json_value(data: bytes, name: str) -> Any:
    try:
        return strict_json.loads(data, allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"{name}: is not JSON: {error}") from None


def toml_value(data: bytes, name: str) -> Any:
    try:
        value = tomllib.loads(strict_json.decode(data, allow_bom=True))
    except strict_json.JSONError as error:
        raise Invalid(f"{name}: {error.message}") from None
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{name}: is not TOML: {error}") from None
    except ValueError:  # Python's own limit of digits
        raise Invalid(f"{name}: is not TOML as it is read here: holds a number that is too long") from None
    except RecursionError:
        raise Invalid(f"{name}: is nested deeper than {DEPTH_MOST} levels") from None
    if _deeper(value, DEPTH_MOST):
        raise Invalid(f"{name}: is nested deeper than {DEPTH_MOST} levels")
    return value


def _deeper(value: Any, most: int) -> bool:
    """Whether lists and tables lie deeper in one another than so many."""
    level = [value]
    for _ in range(most):
        tables = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [child for one in tables for child in one]
    return any(isinstance(one, dict | list) for one in level)


def yaml_value(data: bytes, name: str) -> Any:
    """The value of a YAML document: texts, numbers, true and false, nothing, lists, and maps whose keys are texts.

    Aliases and `<<` are followed, as far as what they stand for stays small. A date is a text.

    Raises:
        Invalid: it is no such document; names the line.
    """
    if len(data) > YAML_MOST:
        raise Invalid(f"{name}: is larger than {YAML_MOST:,} bytes")
    try:
        text = strict_json.decode(data, allow_bom=True)
        _look_over(text)
        node = yaml.SafeLoader(text).get_single_node()
        if node is None:
            raise _YAMLError("is empty")
        _measure(node, {}, set())
        return _value(node)
    except strict_json.JSONError as error:
        raise Invalid(f"{name}: {error.message}") from None
    except (_YAMLError, yaml.YAMLError) as error:
        raise Invalid(f"{name}: is not YAML as it is read here: {_told(error)}") from None


def _told(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return str(_YAMLError(error.problem or error.context or "is wrong", mark))
    return " ".join(str(error).split())


def _look_over(text: str) -> None:
    """Refuse what goes too deep or on for too long, before anything is made of it."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MOST:
            raise _YAMLError(f"is nested deeper than {DEPTH_MOST} levels", event.start_mark)
        if count > EVENTS_MOST:
            raise _YAMLError(f"holds more than {EVENTS_MOST:,} values", event.start_mark)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """How many values a node holds and how deep it goes, with its aliases written out."""
    if id(node) in above:
        raise _YAMLError("holds itself", node.start_mark)
    if id(node) not in known:
        above.add(id(node))
        size, depth = 1, 0
        for child in _children(node):
            held, deep = _measure(child, known, above)
            size, depth = size + held, max(depth, deep)
        above.remove(id(node))
        if size > SIZE_MOST:
            raise _YAMLError(f"holds more than {SIZE_MOST:,} values, its aliases written out", node.start_mark)
        if depth >= DEPTH_MOST:
            raise _YAMLError(f"is nested deeper than {DEPTH_MOST} levels", node.start_mark)
        known[id(node)] = size, depth + 1
    return known[id(node)]


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
        return [_value(one) for one in node.value]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    raise _YAMLError(f"the tag {node.tag[:60]} is not read", node.start_mark)


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in node.value:
        if key.tag == f"{TAG}merge":
            for one in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                if not isinstance(one, yaml.MappingNode):
                    raise _YAMLError("<< must be a map, or a list of maps", key.start_mark)
                merged |= _mapping(one)
            continue
        name = _value(key)
        if not isinstance(name, str):
            raise _YAMLError(f"the key {str(key.value)[:60]!r} must be a text: put it in quotes", key.start_mark)
        if name in own:
            raise _YAMLError(f"the key {name[:60]!r} is given twice", key.start_mark)
        own[name] = _value(value)
    return merged | own


def _scalar(node: yaml.ScalarNode) -> Hashable:
    kind = node.tag.removeprefix(TAG)
    if kind in ("str", "timestamp", "value"):
        return str(node.value)
    if kind == "null":
        return None
    if kind not in ("bool", "int", "float"):
        raise _YAMLError(f"the tag {node.tag[:60]} is not read", node.start_mark)
    if len(node.value) > NUMBER_MOST:
        raise _YAMLError(f"a number of more than {NUMBER_MOST} characters", node.start_mark)
    try:
        value = getattr(yaml.constructor.SafeConstructor(), f"construct_yaml_{kind}")(node)
    except (ValueError, KeyError, IndexError, OverflowError):
        raise _YAMLError(f"{node.value[:60]!r} is no {kind}", node.start_mark) from None
    if isinstance(value, float) and not isfinite(value):
        raise _YAMLError(f"{node.value[:60]} is not a finite number", node.start_mark)
    return cast("Hashable", value)
