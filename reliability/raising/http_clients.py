"""Exceptions of clients of HTTP and the like, as users meet them.

Everything is imported when it is called: what is not installed is told, and skipped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from reliability.raising.case import CLOSED, case


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
