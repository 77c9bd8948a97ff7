"""A web server for `fetch_urls.py`: serves a folder to this machine only."""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web


@contextlib.contextmanager
def local_server(folder: Path, probe: str) -> Iterator[str]:
    """Serve a folder from a process of its own; give the address once `probe` can be had."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(listener, folder), daemon=True
        )
        # Ctrl-C is for the program, which then ends the server.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, before)
    try:
        with urllib.request.urlopen(f"{address}/{probe}", timeout=30):  # noqa: S310 - our own
            yield address
    finally:
        process.terminate()
        process.join()


def serve(listener: socket.socket, folder: Path) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    app = web.Application()
    app.add_routes([web.static("/", folder)])
    web.run_app(app, sock=listener, print=None, access_log=None, handle_signals=False)


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
