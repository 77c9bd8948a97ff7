"""How the exceptions of other libraries come about: each function raises one, as users meet it.

Where a server is needed, there is one on loopback that says 404 to every request, with JSON.
Everything is imported when it is called: what is not installed is told, and skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CLOSED = 9
"""A port on loopback where nobody listens (discard)."""


@dataclass(frozen=True)
class Case:
    """An exception of a library.

    Attributes:
        library: Name of its distribution.
        raises: Raises it; gets the URL of the server.
        reads: What users read of it, as expressions.
    """

    library: str
    raises: Callable[[str], Any]
    reads: tuple[str, ...]


CASES: dict[str, Case] = {}
"""All of them, by name."""


def case(library: str, *reads: str) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Register a function that raises."""

    def register(raises: Callable[[str], Any]) -> Callable[[str], Any]:
        CASES[raises.__name__] = Case(library, raises, reads)
        return raises

    return register


# -- clients of HTTP ------------------------------------------------------------------------


@case(
    "aiohttp",
    *("error.status", "error.message", "error.headers['retry-after']", "error.history"),
    *("error.request_info.url", "error.request_info.method", "error.request_info.headers['host']"),
)
def aiohttp_status(url: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            response.raise_for_status()

    asyncio.run(get())


@case("aiohttp", "error.status", "error.message", "error.request_info.real_url")
def aiohttp_content_type(url: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url + "/text") as response:
            await response.json()

    asyncio.run(get())


@case("aiohttp", "error.host", "error.port", "error.os_error.errno", "error.ssl", "error.errno")
def aiohttp_connector(_url: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{CLOSED}/")

    asyncio.run(get())


@case(
    "httpx",
    *("error.response.status_code", "error.response.json()", "error.response.text"),
    *("error.response.headers['retry-after']", "error.request.url", "error.request.method"),
    "error.response.request.url",
)
def httpx_status(url: str) -> None:
    import httpx

    httpx.get(url).raise_for_status()


@case("httpx", "error.request.url", "error.request.method")
def httpx_connect(_url: str) -> None:
    import httpx

    httpx.get(f"http://127.0.0.1:{CLOSED}/")


@case("httpx", "error.response.status_code", "error.request.url")
def httpx_streamed_status(url: str) -> None:
    import httpx

    with httpx.stream("GET", url) as response:
        response.raise_for_status()


@case(
    "requests",
    *(
        "error.response.status_code",
        "error.response.json()",
        "error.response.headers['retry-after']",
    ),
    *("error.request.url", "error.response.request.method"),
)
def requests_status(url: str) -> None:
    import requests

    requests.get(url, timeout=9).raise_for_status()


@case("requests", "error.request.url", "error.response")
def requests_connect(_url: str) -> None:
    import requests

    requests.get(f"http://127.0.0.1:{CLOSED}/", timeout=9)


@case("requests", "error.doc", "error.pos", "error.lineno", "error.msg")
def requests_json(url: str) -> None:
    import requests

    requests.get(url + "/text", timeout=9).json()


@case(
    "openai",
    *("error.status_code", "error.code", "error.body", "error.message", "error.request_id"),
    *("error.response.status_code", "error.response.headers['retry-after']", "error.request.url"),
)
def openai_status(url: str) -> None:
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    client.models.retrieve("missing")


@case("openai", "error.message", "error.request.url", "error.body")
def openai_connection(_url: str) -> None:
    import openai

    client = openai.OpenAI(base_url=f"http://127.0.0.1:{CLOSED}", api_key="none", max_retries=0)
    client.models.retrieve("missing")


@case(
    "docker",
    *("error.status_code", "error.explanation", "error.response.status_code"),
    "error.is_client_error()",
)
def docker_not_found(url: str) -> None:
    import docker

    docker.DockerClient(base_url=url.replace("http", "tcp"), version="1.40").containers.get("x")


@case("docker", "error.exit_status", "error.command", "error.image", "error.stderr")
def docker_container(_url: str) -> None:
    from docker.errors import ContainerError

    raise ContainerError("box", 2, "false", "image", b"it failed")


@case("docker", "error.msg", "list(error.build_log)")
def docker_build(_url: str) -> None:
    from docker.errors import BuildError

    raise BuildError("no base image", iter([{"stream": "Step 1"}]))


@case(
    "botocore",
    *("error.response['Error']['Code']", "error.operation_name"),
    "error.response['ResponseMetadata']['HTTPStatusCode']",
)
def botocore_client(_url: str) -> None:
    from botocore.exceptions import ClientError

    answer: Any = {
        "Error": {"Code": "NoSuchKey", "Message": "It does not exist."},
        "ResponseMetadata": {"HTTPStatusCode": 404, "RequestId": "1"},
    }
    raise ClientError(answer, "GetObject")


@case("botocore", "error.kwargs", "error.fmt")
def botocore_endpoint(_url: str) -> None:
    from botocore.exceptions import EndpointConnectionError

    raise EndpointConnectionError(endpoint_url="http://here", error=OSError(111, "refused"))


@case("websockets", "error.response.status_code", "error.response.headers['retry-after']")
def websockets_status(url: str) -> None:
    from websockets.sync.client import connect

    connect(url.replace("http", "ws"))


@case("websockets", "error.rcvd.code", "error.rcvd.reason", "error.sent", "error.rcvd_then_sent")
def websockets_closed(_url: str) -> None:
    import websockets

    async def leave(connection: Any) -> None:
        await connection.close(4001, "go away")

    async def talk() -> None:
        async with websockets.serve(leave, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with websockets.connect(f"ws://127.0.0.1:{port}") as connection:
                await connection.recv()

    asyncio.run(talk())


@case(
    "grpcio",
    *("error.code()", "error.details()", "error.trailing_metadata()", "error.initial_metadata()"),
)
def grpc_call(_url: str) -> None:
    with _grpc() as channel:
        channel.unary_unary("/service/missing")(b"", timeout=9)


@case("grpcio", "error.code()", "error.details()", "error.trailing_metadata()")
def grpc_stream(_url: str) -> None:
    with _grpc() as channel:
        list(channel.unary_stream("/service/missing")(b"", timeout=9))


@case("grpcio", "error.code()", "error.details()", "error.trailing_metadata()")
def grpc_aio(_url: str) -> None:
    import grpc

    async def call() -> None:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await channel.unary_unary("/service/missing")(b"", timeout=9)
        finally:
            await server.stop(None)

    asyncio.run(call())


def _grpc() -> Any:
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import contextmanager

    import grpc

    @contextmanager
    def channel() -> Any:
        server = grpc.server(ThreadPoolExecutor(2))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
                yield opened
        finally:
            server.stop(None)

    return channel()


# -- data -----------------------------------------------------------------------------------


@case(
    "pydantic",
    "error.errors()",
    "error.error_count()",
    "error.title",
    "error.json()",
    "repr(error)",
)
def pydantic_validation(_url: str) -> None:
    import pydantic

    model = pydantic.create_model("Model", number=(int, ...), when=(bool, ...), text=(str, "x"))
    model(number="no", text=[1])


@case("pydantic", "error.errors()[0]['msg']", "error.errors()[0]['type']", "error.title")
def pydantic_custom(_url: str) -> None:
    import pydantic

    def refuse(_value: Any) -> Any:
        raise ValueError("not that one")

    kind: Any = pydantic.TypeAdapter(pydantic_annotated(refuse))
    kind.validate_python(3)


def pydantic_annotated(refuse: Any) -> Any:
    """Return a type with a validator of its own."""
    from typing import Annotated

    import pydantic

    return Annotated[int, pydantic.AfterValidator(refuse)]


@case(
    "jsonschema",
    *("list(error.path)", "list(error.absolute_path)", "error.message", "error.validator"),
    *(
        "error.instance",
        "error.schema",
        "error.context",
        "error.json_path",
        "error.validator_value",
    ),
)
def jsonschema_validation(_url: str) -> None:
    import jsonschema

    jsonschema.validate({"a": ["x"]}, {"properties": {"a": {"items": {"type": "number"}}}})


@case("jsonschema", "list(error.path)", "error.message", "[e.message for e in error.context]")
def jsonschema_any_of(_url: str) -> None:
    import jsonschema

    jsonschema.validate("x", {"anyOf": [{"type": "number"}, {"maxLength": 0}]})


@case("lxml", "error.lineno", "error.position", "error.code", "error.msg", "error.offset")
def lxml_syntax(_url: str) -> None:
    from lxml import etree

    etree.fromstring("<a>\n<b></a>")


@case("lxml", "str(error.error_log)", "error.error_log[0].message", "error.error_log[0].line")
def lxml_invalid(_url: str) -> None:
    from lxml import etree

    schema = etree.DTD(__import__("io").StringIO("<!ELEMENT a EMPTY>"))
    schema.assertValid(etree.fromstring("<b/>"))


@case("pandas", "error.args")
def pandas_key(_url: str) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]})["missing"]


@case("pandas", "error.args")
def pandas_parser(_url: str) -> None:
    import io

    import pandas as pd

    pd.read_csv(io.StringIO("a,b\n1,2,3,4\n1\n1,2,3,4,5"))


@case("pandas", "error.args")
def pandas_undefined(_url: str) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]}).query("missing > 1")


@case("pandas", "error.args")
def pandas_bounds(_url: str) -> None:
    import pandas as pd

    pd.Timestamp("9999999-01-01")


@case("numpy", "error.axis", "error.ndim")
def numpy_axis(_url: str) -> None:
    import numpy as np

    np.ones(3).sum(axis=5)


@case("numpy", "error.ufunc", "error.dtypes")
def numpy_ufunc(_url: str) -> None:
    import numpy as np

    np.multiply(np.array(["a"]), np.array([1]))


@case("numpy", "error.shape", "error.dtype")
def numpy_memory(_url: str) -> None:
    import numpy as np

    np.ones(2**50)


@case("numpy")
def numpy_linalg(_url: str) -> None:
    import numpy as np

    np.linalg.inv(np.zeros((2, 2)))


# -- data bases and queues ------------------------------------------------------------------


@case(
    "SQLAlchemy",
    *("error.orig", "error.orig.sqlite_errorname", "error.statement", "error.params", "error.code"),
    "error.connection_invalidated",
)
def sqlalchemy_integrity(_url: str) -> None:
    import sqlalchemy

    with sqlalchemy.create_engine("sqlite://").begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (a INTEGER PRIMARY KEY)"))
        for _ in range(2):
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES (:a)"), {"a": 1})


@case("SQLAlchemy", "error.code")
def sqlalchemy_no_result(_url: str) -> None:
    import sqlalchemy

    with sqlalchemy.create_engine("sqlite://").begin() as connection:
        connection.execute(sqlalchemy.text("SELECT 1 WHERE 0")).one()


@case("psycopg", "error.sqlstate", "error.diag.message_primary", "error.pgresult")
def psycopg_connect(_url: str) -> None:
    import psycopg

    psycopg.connect(f"host=127.0.0.1 port={CLOSED} user=nobody connect_timeout=9")


@case("psycopg", "error.sqlstate", "error.diag.sqlstate", "error.diag.table_name")
def psycopg_unique(_url: str) -> None:
    from psycopg import errors

    raise errors.lookup("23505")("duplicate key", info={ord("C"): b"23505", ord("t"): b"users"})


@case("asyncpg", "error.sqlstate", "error.table_name", "error.detail", "error.as_dict()")
def asyncpg_unique(_url: str) -> None:
    from asyncpg.exceptions import PostgresError

    fields = {"S": "ERROR", "C": "23505", "M": "duplicate key", "D": "it exists", "t": "users"}
    raise PostgresError.new(fields, query="INSERT")


@case("redis", "error.args")
def redis_connect(_url: str) -> None:
    import redis

    redis.Redis(host="127.0.0.1", port=CLOSED, retry=None).ping()


@case("redis", "error.slot_id", "error.host", "error.port", "error.node_addr")
def redis_moved(_url: str) -> None:
    from redis.exceptions import MovedError

    raise MovedError("12182 127.0.0.1:7001")


@case("pyzmq", "error.errno", "error.strerror")
def zmq_connect(_url: str) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect("nonsense")


@case("pyzmq", "error.errno", "error.strerror")
def zmq_again(_url: str) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.recv(zmq.NOBLOCK)


# -- the rest -------------------------------------------------------------------------------


@case(
    "tenacity",
    *("error.last_attempt.exception()", "error.last_attempt.attempt_number"),
    *("error.last_attempt.failed", "type(error.last_attempt)"),
)
def tenacity_retry(_url: str) -> None:
    import tenacity

    def fail() -> None:
        raise LookupError("nothing there", 3)

    tenacity.Retrying(stop=tenacity.stop_after_attempt(2))(fail)


@case("click", "error.exit_code", "error.message", "error.param.name", "error.format_message()")
def click_parameter(_url: str) -> None:
    _command().main(["--count", "many"], standalone_mode=False)


@case("click", "error.option_name", "error.possibilities", "error.ctx.command.name")
def click_option(_url: str) -> None:
    _command().main(["--coun", "1"], standalone_mode=False)


def _command() -> Any:
    import click

    return click.Command("tool", params=[click.Option(["--count"], type=int)])


@case("cryptography")
def cryptography_token(_url: str) -> None:
    from cryptography.fernet import Fernet

    Fernet(Fernet.generate_key()).decrypt(b"nonsense")


@case("cryptography")
def cryptography_signature(_url: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    Ed25519PrivateKey.generate().public_key().verify(b"0" * 64, b"data")


@case("cryptography", "error.oid")
def cryptography_extension(_url: str) -> None:
    from cryptography import x509

    extensions = x509.Extensions([])
    extensions.get_extension_for_oid(x509.ObjectIdentifier("2.5.29.19"))


@case("cryptography", "error._reason")
def cryptography_unsupported(_url: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm, _Reasons

    raise UnsupportedAlgorithm("no such cipher", _Reasons.UNSUPPORTED_CIPHER)
