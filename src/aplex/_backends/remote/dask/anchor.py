"""The anchor: a task of Dask that starts one worker, and holds its place in the cluster meanwhile.

The text of this file travels, and is executed in a process of the cluster that may have no aplex,
or another one: so it imports nothing of aplex, and runs on any Python that Dask does.

* A Dask worker cannot be asked to end a running task. So all anchors of a process are noted in one
  table (`_table`), where `kill` finds them.
* What it starts lives by its standard input, of which this process has the other side: if the Dask
  worker is killed, so is the worker.
* If the Dask worker is about to close (it is retired, or the scheduler is gone), the worker is told
  by SIGTERM: it may finish what it runs, as long as Dask waits for that.
* What becomes of it, it tells as events of Dask, in the order in which it happens.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

ANSWER = 3.0
"""Seconds in which a pool that can be dialled has answered."""


def run(order: dict[str, Any]) -> None:
    """Start a worker, and wait for its end. In a thread of a Dask worker, as a task.

    Args:
        order: ``number``, ``topic`` (of the events), ``arguments`` (of ``aplex.worker``),
            ``secret``, ``tls`` (whether it speaks that), ``needs`` (the versions of aplex and
            cloudpickle), ``packages`` (None, or their hash and zip), ``way``, ``ways`` (by node,
            where another one is known), ``door`` (where the pool listens), ``relay`` (None, or a
            name and texts).
    """
    from distributed import get_worker

    dask: Any = get_worker()

    def tell(what: str, **more: Any) -> None:
        event = {"number": order["number"], "what": what, "address": dask.address, **more}
        dask.log_event(order["topic"], event)

    # An exception would be logged by Dask with all arguments, among which the secret is.
    try:
        _serve(order, dask, tell)
    except BaseException as error:  # noqa: BLE001 - told
        tell("failed", reason=f"{type(error).__name__}: {error}")


def _serve(order: dict[str, Any], dask: Any, tell: Any) -> None:
    packages = order["packages"]
    if packages is None and not _has(order["needs"]):
        tell("lacks")
        return
    command = [sys.executable, "-P", "-m", "aplex.worker", *order["arguments"]]
    way, door = _meet(order, dask)
    if door is not None:
        command += ["--accept", str(door.fileno())]
    try:
        process = subprocess.Popen(  # noqa: S603 - this Python
            [*command, "--secret-file", "-", "--while-stdin"],
            stdin=subprocess.PIPE,
            env={
                **os.environ,
                **(_credentials(dask.security) if order["tls"] else {}),
                "PYTHONPATH": _path(packages, os.environ.get("PYTHONPATH")),
            },
            start_new_session=True,  # Ctrl-C is meant for the Dask worker
            pass_fds=[] if door is None else [door.fileno()],
        )
        where = None if door is None else door.getsockname()[:2]
    finally:
        if door is not None:
            door.close()
    key = order["topic"], order["number"]
    anchors: dict[Any, Any] = _table().anchors
    anchors[key] = process, dask.id
    try:
        assert process.stdin is not None
        try:
            process.stdin.write(order["secret"].encode() + b"\n")
            process.stdin.flush()
        except OSError:  # it has ended, which is told
            pass
        dask.loop.add_callback(_hear_of_the_end, dask)
        tell("placed", node=dask.ip, way=way, listens=where)
        code = process.wait()
    finally:
        del anchors[key]
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:
                pass
    tell("ended", code=code)


def _credentials(security: Any) -> dict[str, str]:
    """Return how the worker speaks TLS: as the Dask worker does. Paths, or text."""
    found = security.get_tls_config_for_role("worker")
    certificate, ca = found.get("cert"), found.get("ca_file")
    if not certificate or not ca:
        raise RuntimeError("the pool speaks TLS, but this Dask worker has no certificate and CA")
    return {
        "APLEX_TLS_CERTIFICATE": certificate,
        "APLEX_TLS_KEY": found.get("key") or certificate,
        "APLEX_TLS_CA": ca,
    }


def _meet(order: dict[str, Any], dask: Any) -> tuple[str, socket.socket | None]:
    """Return in which way the pool and the worker meet, and what the worker is to listen to."""
    if order["relay"] is not None:
        _have_relay(dask, *order["relay"])
    way = order["ways"].get(dask.ip, order["way"])
    if way == "auto":
        way = "worker" if _answers(*order["door"], tls=order["tls"]) else "caller"
    if way == "worker":
        return way, None
    host = "127.0.0.1" if way == "relay" else dask.ip
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return way, socket.create_server((host, 0), family=family)


def _answers(host: str, port: int, *, tls: bool) -> bool:
    """Whether a pool listens there; with TLS it says nothing before we do."""
    try:
        with socket.create_connection((host, port), ANSWER) as connection:
            return tls or connection.recv(5, socket.MSG_WAITALL) == b"aplex"
    except OSError:
        return False


def _have_relay(dask: Any, name: str, texts: list[str]) -> None:
    """Have this Dask worker take calls for relays, by a module of that name."""
    with _table().lock:
        if name in sys.modules:
            return
        module = types.ModuleType(name)
        for text in texts:
            exec(compile(text, name, "exec"), module.__dict__)  # noqa: S102 - our own
        module.__dict__["join"](dask, name)
        sys.modules[name] = module


def kill(topic: str, number: int) -> None:
    """End by force what an anchor has started. In the Dask worker's process."""
    entry = _table().anchors.get((topic, number))
    if entry is not None:
        entry[0].kill()


def _table() -> Any:
    """Return what all texts like this one share in a process."""
    table: Any = sys.modules.setdefault("_aplex_anchors", types.ModuleType("_aplex_anchors"))
    table.__dict__.setdefault("anchors", {})
    table.__dict__.setdefault("packages", {})
    table.__dict__.setdefault("lock", threading.Lock())
    return table


def _has(needs: dict[str, str]) -> bool:
    """Whether this process could import what a worker needs, in the right versions."""
    try:
        import cloudpickle

        import aplex
    except Exception:  # noqa: BLE001 - whatever is installed there
        return False
    return needs == {"aplex": aplex.__version__, "cloudpickle": cloudpickle.__version__}


def _path(packages: tuple[str, bytes] | None, known: str | None) -> str:
    """Return where the worker is to look for modules first.

    That is, what Dask has added to the path of this process as well (``Client.upload_file``).
    """
    places = [] if packages is None else [_place(*packages)]
    usual = os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)
    for entry in map(Path, sys.path):
        if entry.is_absolute() and entry.exists():
            real = str(entry.resolve())
            if not real.startswith(tuple(each + os.sep for each in usual)):
                places.append(str(entry))
    places += (known or "").split(os.pathsep)
    return os.pathsep.join(each for each in dict.fromkeys(places) if each)


def _place(digest: str, data: bytes) -> str:
    """Return the path of a zip, which is in anonymous memory as long as this process lives."""
    known: dict[str, str] = _table().packages
    if digest not in known:
        if sys.platform == "linux":
            fd = os.memfd_create("aplex", os.MFD_CLOEXEC)
            path = f"/proc/{os.getpid()}/fd/{fd}"
        else:
            import tempfile

            fd, path = tempfile.mkstemp(suffix=".zip")
        with open(fd, "wb", closefd=sys.platform != "linux") as file:
            file.write(data)
        known[digest] = path
    return known[digest]


async def _hear_of_the_end(dask: Any) -> None:
    """Have workers told when their Dask worker is about to close. On its loop."""
    if "aplex" in dask.plugins:
        return
    from distributed.diagnostics.plugin import WorkerPlugin

    class Farewell(WorkerPlugin):
        """Tells the workers of one Dask worker that it closes."""

        def teardown(self, worker: Any) -> None:
            for process, where in list(_table().anchors.values()):
                if where == worker.id:
                    process.send_signal(signal.SIGTERM)

    await dask.plugin_add(Farewell(), name="aplex")
