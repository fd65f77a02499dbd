"""One question to a server over its socket: do you take connections?"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

ROLE = "simfeed"
PORT = 5432
PROTOCOL_3 = 196_608


class State(Enum):
    READY = "takes connections"
    STARTING = "starts, recovers or stops"
    SILENT = "nobody answers"


@dataclass(frozen=True)
class Answer:
    """`version` is empty when the server took the question but not the connection."""

    state: State
    version: str = ""


def ask(socket_dir: Path, seconds: float = 5) -> Answer:
    """Connect and sign in: a socket without listener and a server still starting are both told from a ready one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(seconds)
        try:
            line.connect(str(socket_dir / f".s.PGSQL.{PORT}"))
            line.sendall(_hello())
            with line.makefile("rb") as stream:
                return _listen(stream)
        except BlockingIOError:  # the queue of the socket is full: somebody is there
            return Answer(State.STARTING)
        except (FileNotFoundError, ConnectionError, TimeoutError):
            return Answer(State.SILENT)


def _hello() -> bytes:
    words = ("user", ROLE, "database", "postgres", "application_name", "simfeed launcher", "")
    body = struct.pack("!i", PROTOCOL_3) + b"".join(word.encode() + b"\0" for word in words)
    return struct.pack("!i", len(body) + 4) + body


def _listen(stream: BinaryIO) -> Answer:
    version = ""
    for kind, body in _messages(stream):
        match kind:
            case b"S" if body.startswith(b"server_version\0"):
                version = body.split(b"\0")[1].decode()
            case b"Z":
                return Answer(State.READY, version)
            case b"E":
                return Answer(_refusal(body))
    return Answer(State.STARTING)


def _messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(head := stream.read(5)) == 5:
        kind, length = struct.unpack("!ci", head)
        yield kind, stream.read(length - 4)


def _refusal(body: bytes) -> State:
    """Class 57P is a server on its way up or down; any other refusal (no slot free) comes from one that works."""
    code = next((field[1:] for field in body.split(b"\0") if field.startswith(b"C")), b"")
    return State.STARTING if code.startswith(b"57P") else State.READY
