"""The real server on a free loopback port, which it prints: `python -m app.cli.bench.served`. Ends with its parent."""

import os
import signal
import socket
import sys
import threading

import uvicorn

from app.web.server import options


def end_with_parent() -> None:
    """Nobody holds our standard input any more: nobody needs us."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    config = uvicorn.Config("app.main:create_app", factory=True, **options())
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201 - it is what the parent reads
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
