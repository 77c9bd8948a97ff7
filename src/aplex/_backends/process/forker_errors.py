"""Why a template process does not fork. A leaf."""

from __future__ import annotations


class TemplateFailed(RuntimeError):  # noqa: N818 - not for users
    """The template could not import what workers need."""


class TemplateThreads(RuntimeError):  # noqa: N818 - not for users
    """The template has threads, so it must not be forked."""


class TemplateLost(RuntimeError):  # noqa: N818 - not for users
    """The template has ended."""
