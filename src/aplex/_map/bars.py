"""Draws the bars of tqdm (the extra ``aplex[progress]``): which one, whether, and how often.

They stand on stderr, if that is a terminal, or in a notebook; one below another, whichever pools
they are of, as all bars of tqdm in a process do.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final

MISSING: Final = "a progress bar needs tqdm: pip install 'aplex[progress]'"
INTERVAL: Final = 0.1
"""Seconds between two drawings."""


class Drawing:
    """A bar of tqdm that is drawn now and then, and once more after the last update.

    tqdm itself draws when it is updated only, unless a thread looks after it: a bar that was
    updated twice in a moment would show the first until the next item is done, which may be long.

    Args:
        label: What stands before it; None: nothing.
        total: How many there will be; None: unknown.
        later: Has `redraw` called after so many seconds, in whatever thread.

    Raises:
        ImportError: There is no tqdm.
    """

    def __init__(
        self, label: str | None, total: int | None, later: Callable[[float], object]
    ) -> None:
        self._later = later
        self._is_due = False
        self._said = ""
        face, disable = _face()
        colour: dict[str, Any] = {"colour": None} if os.environ.get("NO_COLOR") else {}
        self._bar: Any = _quiet(face)(
            desc=label,
            total=total,
            disable=disable,
            file=sys.stderr,
            mininterval=INTERVAL,
            miniters=1,
            **colour,
        )

    def update(self, count: int, said: str = "") -> None:
        """Let so many more be done, and say something after the bar. No two threads at once."""
        bar = self._bar
        if bar.disable:
            return
        if said != self._said:
            self._said = said
            bar.set_postfix_str(said, refresh=False)
        bar.update(count)
        if not self._is_due and (bar.is_stale or bar.n != bar.last_print_n):
            self._is_due = True
            self._later(INTERVAL)

    def redraw(self) -> None:
        """Draw what is not drawn yet. No two threads at once."""
        bar = self._bar
        self._is_due = False
        if not bar.disable and bar.is_stale:
            bar.refresh()
        self.update(0, self._said)

    def close(self) -> None:
        """Leave the bar as it is; those below it move up."""
        bar = self._bar
        if bar.disable:
            return
        bar.close()
        kind: Any = type(bar)
        for other in list(kind._instances):  # noqa: SLF001 - of tqdm
            if hasattr(other, "is_stale"):  # ours; this one may have been left on its line
                other.refresh()


def _face() -> tuple[Any, bool | None]:
    """Return the class of bars, and whether it is not to show them; None: on terminals only."""
    try:
        import tqdm
    except ImportError as error:
        raise ImportError(MISSING) from error
    off = os.environ.get("TQDM_DISABLE", "").lower() not in ("", "0", "false")
    if off or sys.stderr is None:  # of a daemon, or a program without a console
        return tqdm.tqdm, True
    if not _is_notebook():
        return tqdm.tqdm, None
    try:
        importlib.import_module("ipywidgets")  # or tqdm would warn
    except ImportError:
        return tqdm.tqdm, False
    from tqdm.notebook import tqdm_notebook

    return tqdm_notebook, False


def _is_notebook() -> bool:
    """Whether this is the kernel of a notebook: its stderr is no terminal, and shows text."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


@functools.cache
def _quiet(face: Any) -> Any:
    """Return a class of bars that start no thread and no process, and never wait for each other."""
    import tqdm.std

    class Quiet(face):  # type: ignore[misc] # whatever there is
        monitor_interval = 0  # no thread that looks whether a bar stands still
        is_stale = False

        def refresh(self, nolock: bool = False, lock_args: Any = None) -> Any:  # noqa: ARG002, FBT001, FBT002
            # Whoever draws may be what another bar's thread waits for: it never waits itself.
            self.is_stale = not super().refresh(nolock, None if nolock else (False,))
            return not self.is_stale

    # Half of tqdm's own lock. The other half is for bars in several processes: a semaphore, for
    # which `multiprocessing` may start a process.
    Quiet.set_lock(vars(tqdm.std)["TqdmDefaultWriteLock"].th_lock)  # not in its types
    return Quiet
