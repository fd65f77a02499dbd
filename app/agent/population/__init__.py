"""Populations: personas read from and written to files, ours and those of other systems."""

from app.agent.population.abroad import write_engine, write_oasis_csv, write_oasis_json, write_tinytroupe
from app.agent.population.files import parse_personas, read_personas
from app.agent.population.folders import read_agents
from app.agent.population.results import PersonaFormat, Problem, ReadResult
from app.agent.population.writing import write_personas

__all__ = [
    "PersonaFormat",
    "Problem",
    "ReadResult",
    "parse_personas",
    "read_agents",
    "read_personas",
    "write_engine",
    "write_oasis_csv",
    "write_oasis_json",
    "write_personas",
    "write_tinytroupe",
]
