"""What a release says of itself agrees with the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import aplex

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = re.compile(r"[A-Za-z0-9_.-]+")


def test_the_citation_has_the_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", text, re.MULTILINE) == [aplex.__version__]


def test_the_licences_of_all_that_aplex_may_need_are_listed() -> None:
    page = (ROOT / "docs" / "releasing.md").read_text()
    listed = {
        (package, used)
        for package, used in re.findall(r"^\| ([\w-]+) \| (.+?) \| .+ \|$", page, re.MULTILINE)
    }
    wanted = {(_name(need), "always") for need in PROJECT["dependencies"]}
    seen = {package for package, _ in wanted}
    for extra, needs in PROJECT["optional-dependencies"].items():
        for name in map(_name, needs):
            if name not in seen:
                seen.add(name)
                wanted.add((name, f"extra `{extra}`"))
    assert wanted <= listed | {("package", "when")}


def test_the_changelog_has_a_section_for_what_is_not_released() -> None:
    heads = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert heads[1:] == sorted(heads[1:], key=_numbers, reverse=True)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _name(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found is not None
    return found[0]
