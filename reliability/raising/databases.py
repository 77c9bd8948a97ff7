"""Exceptions of clients of data bases and queues, as users meet them.

Everything is imported when it is called: what is not installed is told, and skipped.
"""

from __future__ import annotations

from reliability.raising.case import CLOSED, case


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
