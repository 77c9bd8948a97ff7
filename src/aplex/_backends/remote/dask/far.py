"""The end of a relay in the process of a Dask worker. See `aplex._backends.remote.relay`.

The texts of that file and of this one travel, and are executed one after the other in one module
(see `anchor`), in a process that may have no aplex.

A caller that is killed calls nothing any more, and its last call waits: nobody tells that end of
the relay. Nor does a pool that ends tell of its last connections, if its client is closed first.
But Dask forgets the task of the anchor then, and tells the plugins of the Dask worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aplex._backends.remote.relay import Far, Frame  # noqa: TC004 - they are here already


def join(dask: Any, name: str) -> None:
    """Take calls for relays in a Dask worker. Any thread of it.

    Args:
        dask: The Dask worker.
        name: Of this module, which is the same for the same text.
    """
    far = Far()

    async def exchange(what: str, relay: str, frames: list[Frame]) -> list[Frame] | None:
        if what == "pull":
            return await far.pull(relay)
        await far.push(relay, frames)
        return None

    dask.handlers[name] = exchange
    dask.loop.add_callback(_watch, dask, name, far)


async def _watch(dask: Any, name: str, far: Far) -> None:
    """Be told when a task is not wanted any more. On the loop of the Dask worker."""
    from distributed.diagnostics.plugin import WorkerPlugin

    class Ends(WorkerPlugin):
        """Ends the connections of anchors that nobody wants."""

        def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
            if start in ("executing", "long-running") and finish in ("released", "cancelled"):
                far.end_all_of(str(key))

    await dask.plugin_add(Ends(), name=name)
