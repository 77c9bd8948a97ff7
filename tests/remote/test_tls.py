"""TLS on the connections of remote workers: what works without works with it, for who may."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aplex import RemoteAsyncPoolExecutor, WorkerLostError
from aplex._backends.remote import door
from aplex._wire import handshake
from aplex._wire.credentials import VARIABLES, Credentials, of_ray
from aplex.remote import TLS
from tests.support import works
from tests.support.certificates import Authority
from tests.support.leaks import nothing_left_alive
from tests.support.processes import is_alive
from tests.support.remote_workers import COMMAND, address_of, agent_of, backend_of
from tests.support.signals import Gate, Signals
from tests.support.waiting import eventually

PATIENCE = 15.0  # seconds
BIG = 64 * 2**20  # bytes


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody of the pool believes."""
    return Authority(tmp_path_factory.mktemp("certificates"), "theirs")


@pytest.fixture(scope="module")
def tls(authority: Authority) -> TLS:
    return authority.tls("pool")


@pytest.fixture
def pool(tls: TLS) -> Iterator[RemoteAsyncPoolExecutor[Any]]:
    """One with a worker that serves, and goes on serving."""
    with nothing_left_alive(), RemoteAsyncPoolExecutor(COMMAND, 1, tls=tls) as pool:
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
        yield pool
        assert pool.submit(works.add, 3, 4).result(PATIENCE) == 7


def run_worker(
    pool: RemoteAsyncPoolExecutor[Any], *arguments: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Start a worker by hand that knows the secret, and wait for its end."""
    host, port = address_of(pool)
    token = f"1-{backend_of(pool)._launches[1].token.hex()}"
    return subprocess.run(
        [*COMMAND, "--connect", f"{host}:{port}", "--token", token, *map(str, arguments)],
        env={**os.environ, "APLEX_SECRET": backend_of(pool)._secret, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def flags(tls: TLS) -> list[object]:
    return ["--tls-certificate", tls.certificate, "--tls-key", tls.key, "--tls-ca", tls.ca]


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The reasons in the log."""
    lines = [record.getMessage() for record in caplog.records if record.name == "aplex"]
    assert all("refused a connection from 127.0.0.1:" in line for line in lines)
    return [line.split(": ", 1)[1] for line in lines]


# -- what works -----------------------------------------------------------------------------


def test_works_of_all_kinds_run(pool: RemoteAsyncPoolExecutor[Any]) -> None:
    assert pool.submit(works.aadd, 1, 2).result(PATIENCE) == 3
    assert list(pool.map(works.same, range(1000))) == list(range(1000))
    assert list(pool.stream(works.count_to, 1000)) == list(range(1000))
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(PATIENCE)
    assert pool.stats().workers[0].rss


def test_what_runs_is_cancelled(pool: RemoteAsyncPoolExecutor[Any], signals: Signals) -> None:
    future = pool.submit(works.endless, signals.path, 3)
    signals.expect("started 3")
    assert future.cancel()
    signals.expect("finally 3")


def test_big_things_go_there_and_back(pool: RemoteAsyncPoolExecutor[Any]) -> None:
    """Also several at once, and more than wait anywhere in between."""
    data = os.urandom(BIG)
    assert pool.submit(works.same, data).result(60) == data
    parts = [data[n : n + 2**20] for n in range(0, 16 * 2**20, 2**20)]
    futures = [pool.submit(works.aadd, part, b"") for part in parts]
    assert [future.result(60) for future in futures] == parts


def test_records_are_forwarded(tls: TLS, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        RemoteAsyncPoolExecutor(COMMAND, 1, tls=tls, forward_logs=True) as pool,
    ):
        pool.submit(logging.getLogger("of works").warning, "said there").result(PATIENCE)
        eventually(lambda: "said there" in caplog.text)


def test_what_travels_is_encrypted(tls: TLS, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that goes over the wire is records of TLS, and nothing that was submitted is in them."""
    from aplex._wire import tunnels

    seen: list[bytes] = []

    class Watched(tunnels.Tunnel):
        def _flush_down(self) -> None:
            seen.append(bytes(self._down))
            super()._flush_down()

        def _read_wire(self, buffer: memoryview) -> None:
            known = self.wire.recv(len(buffer), socket.MSG_PEEK)
            seen.append(known)
            super()._read_wire(buffer)

    monkeypatch.setattr(tunnels, "Tunnel", Watched)
    word = "a word that is easily found"
    with RemoteAsyncPoolExecutor(COMMAND, 1, tls=tls) as pool:
        assert pool.submit(works.same, word).result(PATIENCE) == word
    assert sum(map(len, seen)) > 1000
    assert not any(word.encode() in part for part in seen)


def test_a_worker_has_certificates_of_its_own_and_works_see_nothing_of_them(
    tls: TLS, authority: Authority
) -> None:
    command = [*COMMAND, *map(str, flags(authority.tls("worker")))]
    with RemoteAsyncPoolExecutor(command, 1, tls=tls) as pool:
        for name in VARIABLES:
            assert pool.submit(os.environ.get, name).result(PATIENCE) is None


def test_credentials_may_be_text(tls: TLS) -> None:
    """As Dask has them; the file is never written."""
    paths = tls.certificate, tls.key, tls.ca
    texts = Credentials(*(Path(path).read_text(encoding="utf-8") for path in paths))
    from aplex._backends.remote.security import security_of

    with RemoteAsyncPoolExecutor(COMMAND, 1, tls=tls) as pool:
        backend_of(pool)._security = security_of(texts)
        assert pool.submit(works.add, 1, 2).result(PATIENCE) == 3
    assert "PRIVATE" not in repr(texts)


def test_a_lost_machine_is_noticed_by_the_kernel(pool: RemoteAsyncPoolExecutor[Any]) -> None:
    """As without TLS: on one connection only, that of the agent."""
    at = backend_of(pool)._door
    assert at is not None
    assert at._tunnels is not None
    wires = {tunnel.wire for tunnel, _ in at._tunnels._tunnels.values()}
    watched = [wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for wire in wires]
    assert len(watched) >= 3
    assert sum(map(bool, watched)) == 1


# -- the end ----------------------------------------------------------------------------------


def test_a_killed_worker_is_told_at_once(
    pool: RemoteAsyncPoolExecutor[Any], tmp_path: Path, signals: Signals
) -> None:
    gate = Gate(tmp_path / "gate")
    pid = pool.submit(os.getpid).result(PATIENCE)
    running = pool.submit(works.held, signals.path, gate.path, 7)
    others = [pool.submit(works.add, n, 1) for n in range(20)]
    signals.expect("started 7")
    before = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    error = running.exception(PATIENCE)
    assert time.monotonic() - before < 1
    assert isinstance(error, WorkerLostError)
    assert (error.pid, error.signal_name) == (pid, "SIGKILL")
    assert [other.result(PATIENCE) for other in others] == [n + 1 for n in range(20)]
    gate.close()


def test_what_a_worker_had_written_arrives_though_it_is_killed(
    pool: RemoteAsyncPoolExecutor[Any],
) -> None:
    """It ends in the middle of a stream of results, with much under way."""
    data = os.urandom(2**20)
    pid = pool.submit(os.getpid).result(PATIENCE)
    futures = [pool.submit(works.same, data) for _ in range(20)]
    futures[3].result(PATIENCE)
    os.kill(pid, signal.SIGKILL)
    errors = [future.exception(PATIENCE) for future in futures]
    lost = [error for error in errors if error is not None]
    assert len(lost) <= 1  # of functions one is running: the others have run, or run elsewhere
    for error in lost:
        assert isinstance(error, WorkerLostError)
        assert error.signal_name == "SIGKILL"  # its end was certified
    assert all(future.result() == data for future in futures if future.exception() is None)


def test_the_end_of_an_agent_is_known_at_both_sides(
    pool: RemoteAsyncPoolExecutor[Any], signals: Signals, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    pid = pool.submit(os.getpid).result(PATIENCE)
    future = pool.submit(works.held, signals.path, gate.path, 7)
    signals.expect("started 7")
    before = time.monotonic()
    os.kill(agent_of(pid), signal.SIGKILL)
    error = future.exception(PATIENCE)
    assert time.monotonic() - before < 1
    assert isinstance(error, WorkerLostError)
    assert error.lost_by is not None
    gate.open()
    eventually(lambda: not is_alive(pid))
    gate.close()


def test_the_end_of_the_pool_ends_its_workers(tls: TLS, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, time\n"
        "from aplex import RemoteAsyncPoolExecutor\n"
        "from aplex.remote import TLS\n"
        "if __name__ == '__main__':\n"
        "    command = [sys.executable, '-m', 'aplex.worker']\n"
        "    pool = RemoteAsyncPoolExecutor(command, 1, tls=TLS(*sys.argv[1:]))\n"
        "    print(pool.submit(os.getpid).result(30), flush=True)\n"
        "    time.sleep(60)\n",
        encoding="utf-8",
    )
    paths = map(os.fspath, (tls.certificate, tls.key, tls.ca))
    with subprocess.Popen(
        [sys.executable, program, *paths], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        agent = agent_of(pid)
        running.kill()
        eventually(lambda: not is_alive(pid) and not is_alive(agent))


def test_an_agent_that_is_stopped_is_given_up(tls: TLS) -> None:
    with nothing_left_alive(), RemoteAsyncPoolExecutor(COMMAND, 1, tls=tls) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        agent = agent_of(pid)
        os.kill(agent, signal.SIGSTOP)
        future = pool.submit(works.same, bytes(8 * 2**20))  # more than fits on the way
        pool.kill_workers()
        assert future.exception(PATIENCE) is not None
        with contextlib.suppress(ProcessLookupError):  # it was killed
            os.kill(agent, signal.SIGCONT)
        eventually(lambda: not is_alive(pid))


def test_a_forked_child_has_nothing_of_it(pool: RemoteAsyncPoolExecutor[Any]) -> None:
    """Else a connection would outlive the pool, and workers would, too."""
    threads = [thread.name for thread in threading.enumerate()]
    assert "aplex-tls" in threads
    pid = os.fork()
    if pid == 0:
        os._exit(int(bool(backend_of(pool)._door._tunnels._tunnels)))  # type: ignore[union-attr]
    assert os.waitpid(pid, 0)[1] == 0


# -- who is refused ---------------------------------------------------------------------------


def test_a_worker_of_another_authority_is_refused_in_one_line_at_both_ends(
    pool: RemoteAsyncPoolExecutor[Any],
    tls: TLS,
    stranger: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It believes the pool; the pool does not believe it."""
    other = dataclasses.replace(stranger.tls("worker"), ca=tls.ca)
    ran = run_worker(pool, *flags(other))
    host, port = address_of(pool)
    said = "it does not accept our certificate: unknown ca"
    assert ran.stderr == f"aplex.worker: refused by {host}:{port}: {said}\n"
    assert ran.returncode == 3
    (line,) = refused(caplog)
    assert line.startswith("its certificate is not accepted: ")


def test_a_pool_of_another_authority_is_refused_by_the_worker(
    pool: RemoteAsyncPoolExecutor[Any],
    tls: TLS,
    stranger: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = dataclasses.replace(tls, ca=stranger.file)
    ran = run_worker(pool, *flags(other))
    assert ran.returncode == 3
    assert ran.stderr.count("\n") == 1
    assert "its certificate is not accepted: " in ran.stderr
    assert refused(caplog) == ["it does not accept our certificate: unknown ca"]


def test_a_worker_that_does_not_speak_tls_is_told_so(
    pool: RemoteAsyncPoolExecutor[Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits for the pool to begin, which waits for it."""
    monkeypatch.setattr(door, "HELLO", 0.3)
    ran = run_worker(pool)
    said = "it does not speak TLS, as this pool does"
    assert ran.returncode == 3
    assert ran.stderr.endswith(f": {said}\n")
    assert ran.stderr.count("\n") == 1
    assert refused(caplog) == [said]


def test_a_pool_that_does_not_speak_tls_is_refused_by_a_worker_that_does(
    tls: TLS, caplog: pytest.LogCaptureFixture
) -> None:
    with RemoteAsyncPoolExecutor(COMMAND, 1) as pool:
        pool.start()
        ran = run_worker(pool, *flags(tls))
    assert ran.returncode == 3
    assert ran.stderr.endswith(": it does not speak TLS\n")
    assert refused(caplog) == [
        "this is no aplex worker, or one that speaks TLS, as this pool does not"
    ]


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 10_000_000, b"\x16\x03\x01\0\5hello"]
)
def test_a_stranger_is_refused_whatever_it_sends(
    pool: RemoteAsyncPoolExecutor[Any], garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(address_of(pool), PATIENCE) as connection:
        try:
            connection.sendall(garbage)
            while connection.recv(4096):
                pass
        except OSError:
            pass  # it was hung up
    eventually(lambda: len(refused(caplog)) == 1)
    assert "TLS" in refused(caplog)[0]


def test_who_comes_in_by_tls_must_know_the_secret_as_well(
    pool: RemoteAsyncPoolExecutor[Any], tls: TLS, caplog: pytest.LogCaptureFixture
) -> None:
    ran = run_worker(pool, *flags(tls), APLEX_SECRET="not the secret of that pool")
    assert ran.stderr.endswith(": the secret is wrong\n")
    assert refused(caplog) == ["the secret is wrong"]


def test_who_stands_in_between_with_a_certificate_gets_nowhere(
    pool: RemoteAsyncPoolExecutor[Any], tls: TLS, authority: Authority
) -> None:
    """It passes on what both say; but what is said is bound to the certificate of the pool."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.ca)
    with (
        socket.create_connection(address_of(pool), PATIENCE) as wire,
        context.wrap_socket(wire) as connection,
    ):
        nonce = handshake.nonce_of(connection.recv(handshake.GREETING_SIZE))
        other = ssl.PEM_cert_to_DER_cert(
            Path(authority.tls("between").certificate).read_text(encoding="utf-8")
        )
        secret = handshake.bound(backend_of(pool)._secret.encode(), other)
        connection.sendall(handshake.answer(nonce, secret, handshake.CONTROL, 1, bytes(16)))
        assert connection.recv(1000)[3:] == b"the secret is wrong"


def test_who_says_nothing_inside_tls_is_sent_away(
    pool: RemoteAsyncPoolExecutor[Any],
    tls: TLS,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "PATIENCE", 0.3)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.ca)
    slow = socket.create_connection(address_of(pool), PATIENCE)
    slow.sendall(b"\x16\x03\x01")
    with (
        socket.create_connection(address_of(pool), PATIENCE) as wire,
        context.wrap_socket(wire) as connection,
    ):
        said = b""
        while part := connection.recv(1000):
            said += part
        assert said.endswith(b"it did not say who it is within 0.3 s")
    with slow:
        assert slow.recv(100) == b""
    assert len(refused(caplog)) == 2


# -- options ----------------------------------------------------------------------------------


def test_options_are_checked(tls: TLS, authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="tls must be a TLS or None"):
        RemoteAsyncPoolExecutor(COMMAND, 1, tls=True)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"no such\.pem"):
        RemoteAsyncPoolExecutor(COMMAND, 1, tls=dataclasses.replace(tls, ca="no such.pem"))
    other = authority.tls("other")
    with pytest.raises(ssl.SSLError, match="key values mismatch"):
        RemoteAsyncPoolExecutor(COMMAND, 1, tls=dataclasses.replace(tls, key=other.key))
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(ssl.SSLError, match=r"empty\.pem"):
        RemoteAsyncPoolExecutor(COMMAND, 1, tls=dataclasses.replace(tls, certificate=empty))


def test_a_worker_needs_all_three_files(pool: RemoteAsyncPoolExecutor[Any], tls: TLS) -> None:
    ran = run_worker(pool, "--tls-certificate", tls.certificate)
    assert ran.returncode == 2
    assert "TLS needs --tls-key too, or APLEX_TLS_KEY" in ran.stderr
    ran = run_worker(pool, *flags(dataclasses.replace(tls, key="no such.pem")))
    assert ran.returncode == 3
    assert "no such.pem" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_ray_says_by_its_variables_what_it_speaks() -> None:
    files = {
        "RAY_TLS_SERVER_CERT": "certificate",
        "RAY_TLS_SERVER_KEY": "key",
        "RAY_TLS_CA_CERT": "ca",
    }
    assert of_ray(files) is None
    assert of_ray({**files, "RAY_USE_TLS": "0"}) is None
    assert of_ray({**files, "RAY_USE_TLS": "1"}) == Credentials("certificate", "key", "ca")
    del files["RAY_TLS_CA_CERT"]
    with pytest.raises(ValueError, match="RAY_TLS_CA_CERT is not"):
        of_ray({**files, "RAY_USE_TLS": "1"})
