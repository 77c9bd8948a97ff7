"""An nginx of our own on a free port of the loopback device: what HTTP works ask."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CURE = "on Debian or Ubuntu: apt-get install nginx-light"
ANSWER = "hello"
# One process without a master: its CPU time is easy to tell from that of the peers.
CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
worker_rlimit_nofile 8192;
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 10000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type text/plain; return 200 "{answer}"; }}
    }}
}}
"""


class NginxError(Exception):
    """There is no nginx to ask; the text says why, and the cure."""


@dataclass(frozen=True)
class Server:
    """A running nginx."""

    pid: int
    url: str


def find() -> str:
    """The path of nginx. Debian has it where only root's PATH looks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("nginx", path=path)
    if found is None:
        raise NginxError(f"nginx is not on PATH; {CURE}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run one in a folder of its own; nothing is left of it afterwards."""
    program, port = find(), free_port()
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "nginx.conf"
        config.write_text(CONFIG.format(folder=name, port=port, answer=ANSWER))
        command = [program, "-p", name, "-c", str(config), "-e", "stderr"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            wait_until_it_answers(process, port)
            yield Server(process.pid, f"http://127.0.0.1:{port}/")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(500):
        if process.poll() is not None:
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
            raise NginxError(f"nginx ended with {process.returncode}: {said.strip()[-200:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise NginxError("nginx does not answer")
