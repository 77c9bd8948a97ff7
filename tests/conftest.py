"""Shared by all tests: profiles of hypothesis. (Fixtures that guard against leaks go here.)"""

from __future__ import annotations
