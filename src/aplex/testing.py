"""For tests of programs that use aplex: a deterministic executor, and faults on demand.

The fixture ``aplex_leaks`` of pytest comes with aplex by itself.
"""

from aplex._testing.faults import Faults
from aplex._testing.inline_executor import InlineAsyncPoolExecutor
from aplex._testing.paper import PaperAsyncPoolExecutor

__all__ = ["Faults", "InlineAsyncPoolExecutor", "PaperAsyncPoolExecutor"]
