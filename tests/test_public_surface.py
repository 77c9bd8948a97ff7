"""The public surface is that of ``public_surface.txt``: a change of it is to be seen in review."""

from __future__ import annotations

from tests import public_surface


def test_the_public_surface_is_the_one_that_is_written_down() -> None:
    """`python -m tests.public_surface --write` renews the page."""
    assert public_surface.render() == public_surface.PAGE.read_text(encoding="utf-8")


def test_each_public_module_is_an_attribute_of_the_package() -> None:
    import aplex

    for name in public_surface.public_modules()[1:]:
        assert getattr(aplex, name.rpartition(".")[2]).__name__ == name
