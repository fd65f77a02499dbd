"""Populations: personas read from and written to files, ours and those of other systems."""

from app.agent.population.files import parse_personas, read_personas
from app.agent.population.results import PersonaFormat, Problem, ReadResult
from app.agent.population.writing import write_personas

__all__ = ["PersonaFormat", "Problem", "ReadResult", "parse_personas", "read_personas", "write_personas"]
