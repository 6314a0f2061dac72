"""The plugin's face: the store's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from turnkeep.config.options import AsDuration
from turnkeep.hookspecs import Env, StoreSpec, hookimpl
from turnkeep.store import Capability

if TYPE_CHECKING:
    from turnkeep_session_postgres.store import PostgresStore

CAPABILITIES: Final = frozenset({Capability.LIST_ALL, Capability.FORK, Capability.ERASE})
"""Those of every store; with `search = true` there is `search` too."""

MAX_NAME: Final = 63
"""Bytes of a name in PostgreSQL."""

_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False), AsDuration()]


class PostgresOptions(BaseModel):
    """The table `[session.postgres]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host:5432/database; what is not in it comes from "
        "libpq's variables, such as PGHOST and PGPASSWORD, and from ~/.pgpass",
        examples=["postgresql://turnkeep@localhost/turnkeep"],
    )
    # Not `schema`, which is a method of pydantic's models; the alias is the name in TOML.
    db_schema: str = Field(
        default="turnkeep",
        alias="schema",
        min_length=1,
        description="the schema (namespace) that the tables are in",
    )
    create_schema: bool = Field(
        default=True,
        description="make and migrate the tables where needed; false: only check them",
    )
    pool_size: int = Field(default=10, ge=1, le=1000, description="most connections of a process")
    pool_timeout: _Seconds = Field(
        default=10.0, description="how long a call waits for one of them to be free"
    )
    pool_idle: _Seconds = Field(
        default=300.0, description="a connection that nobody needs is closed after this time"
    )
    connect_timeout: _Seconds = Field(
        default=10.0, description="how long making a connection may take"
    )
    statement_timeout: _Seconds = Field(
        default=30.0,
        description="how long an answer may take; then the connection is given up",
    )
    retry_for: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False), AsDuration()] = Field(
        default=10.0,
        description="how long a call tries again where the server is away, restarts or fails over",
    )
    pgbouncer: bool | Literal["auto"] = Field(
        default="auto",
        description="whether a pooler such as PgBouncer in transaction mode stands between: no "
        'prepared statements then; "auto" finds out',
    )
    statements: Literal["single", "plain"] = Field(
        default="single",
        description='"single": one statement an append; "plain": a transaction of simple ones, '
        "for databases that lack data-modifying WITH",
    )
    search: bool = Field(
        default=False, description="keep the text of messages for full-text search"
    )

    @field_validator("db_schema")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if "\0" in name or len(name.encode()) > MAX_NAME:
            raise ValueError(f"a schema's name has at most {MAX_NAME} bytes, and no NUL")
        return name


@asynccontextmanager
async def open_postgres(options: PostgresOptions, env: Env) -> AsyncIterator[PostgresStore]:
    """Open the store, making or migrating its tables where the options allow it.

    Raises StoreUnavailable where the server cannot be reached or lets nobody in, and StoreError
    where the tables are not ours to use: missing, without rights, of a newer version.
    """
    from turnkeep_session_postgres.store import PostgresStore  # only when opened

    store = await PostgresStore.open(options, logger=env.logger.getChild("session_postgres"))
    try:
        yield store
    finally:
        await store.close()


@hookimpl
def session_stores() -> Iterable[StoreSpec[Any]]:
    """Offer the store `postgres`."""
    return [
        StoreSpec(
            name="postgres",
            summary="sessions in PostgreSQL: for many processes and machines",
            options=PostgresOptions,
            open=open_postgres,
            capabilities=CAPABILITIES,
        )
    ]
