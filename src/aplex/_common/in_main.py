"""Whether this is a worker that imports the main module. A leaf.

Most main modules import executors, and few workers make one: so what only they need is imported
later there. (``multiprocessing`` keeps the mark, by which it refuses programs without a guard.)
"""

from __future__ import annotations

import sys


def imports_main() -> bool:
    """Whether this process is a worker, or a template of workers, in that moment."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)
