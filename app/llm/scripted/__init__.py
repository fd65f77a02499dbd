"""The offline model: plays personas with no key, no network and no language model."""

from app.llm.scripted.model import ScriptedModel

__all__ = ["ScriptedModel"]
