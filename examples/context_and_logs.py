#!/usr/bin/env python3
"""What surrounds a work: the caller's context variables come along, and what it logs comes back.

    python examples/context_and_logs.py

A small service: each request has a tenant, in a `ContextVar` that works need as well. What they
log in their processes is handled here, by the program's own handler and at its own levels, with
the tenant, the work's number and its worker in each line.
"""

import asyncio
import logging
from contextvars import ContextVar

from aplex import ProcessAsyncPoolExecutor

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
log = logging.getLogger("service")
FORMAT = "%(levelname)s work %(work_id)s in slot %(worker_index)s: %(message)s"
HERE = {"work_id": "-", "worker_index": "-"}  # of records that the program itself makes


# --- in the workers ----------------------------------------------------------------------


def bill(order: int) -> str:
    log.info("a bill for %s", tenant.get())
    log.debug("which nobody wants to know, so nothing is sent")
    return f"{tenant.get()} pays for {order}"


def street_of(order: int) -> str:
    return {1: "Main Street", 2: "Elm Street"}[order]


async def deliver(order: int) -> str:
    try:
        street = street_of(order)
    except LookupError:
        log.exception("%s gets nothing", tenant.get())
        return f"{tenant.get()} gets nothing"
    tenant.set("a work's own business")  # which the next work does not see
    return f"order {order} is delivered to {street}"


def whose() -> str:
    return tenant.get()


# --- the program -------------------------------------------------------------------------


async def handle(pool: ProcessAsyncPoolExecutor, name: str, order: int) -> None:
    """Handle a request, in a task and so in a context of its own."""
    tenant.set(name)
    print(await pool.submit(bill, order))
    print(await pool.submit(deliver, order))


async def main() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT, defaults=HERE))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log.info("the service begins")
    async with ProcessAsyncPoolExecutor(2, awaitable=True, context=[tenant]) as pool:
        async with asyncio.TaskGroup() as group:
            for order, name in enumerate(("Ann", "Ben", "Cho"), 1):
                group.create_task(handle(pool, name, order))
        print(f"the tenant is {await pool.submit(whose)} again")


if __name__ == "__main__":
    asyncio.run(main())
