"""The opt-in local model: the offline model decides what to do, a small language model in this process writes."""

from app.llm.local.engine import require
from app.llm.local.model import LOCAL, LocalModel

__all__ = ["LOCAL", "LocalModel", "require"]
