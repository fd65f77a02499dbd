"""An embedded PostgreSQL: a private server that the processes of one home share and the last of them stops."""

from app.db.embedded.server import EmbeddedServer, Status, remove, start, status, stop, throwaway

__all__ = ["EmbeddedServer", "Status", "remove", "start", "status", "stop", "throwaway"]
