"""Licences of datasets: names that catalogues know, or addresses; all else is refused before anything is built."""

import pytest
import yaml  # type: ignore[import-untyped]

from app.analysis.dataset import metadata
from app.analysis.dataset.licences import licence
from app.analysis.dataset.options import Options, Source
from app.analysis.dataset.package import checked
from app.errors import Invalid


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", ""),
        (" cc-by-4.0 ", "CC-BY-4.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("https://example.org/licence", "https://example.org/licence"),
    ],
)
def test_a_licence_is_told_as_catalogues_spell_it(given: str, told: str) -> None:
    assert licence(given) == told


@pytest.mark.parametrize(
    "given", ["my own licence", "CC-BY-9", "MIT OR CC0-1.0", "LicenseRef-mine", "https://a b", "("]
)
def test_what_is_no_licence_is_refused_before_anything_is_built(given: str) -> None:
    with pytest.raises(ValueError, match="must be an SPDX name"):
        licence(given)
    with pytest.raises(Invalid, match="license: must be an SPDX name"):
        checked([Source("home", "postgresql://nowhere")], Options(licence=given))


def test_a_dataset_has_a_version_of_its_own() -> None:
    about = metadata.About("t", "d", "2026-03-09", "9.9.9", ("Ada Lovelace",), licence("mit"))
    told = yaml.safe_load(metadata.citation(about))
    assert (told["version"], told["license"]) == ("2026.3.9", "MIT")
