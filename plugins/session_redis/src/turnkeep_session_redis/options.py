"""The table `[session.redis]`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from turnkeep_session_redis.place import Place, parse_place


class RedisOptions(BaseModel):
    """Where the server is, and how patiently it is used."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://",
    )
    username: str | None = Field(default=None, description="instead of the one in the url")
    password: SecretStr | None = Field(default=None, description="instead of the one in the url")
    sentinel_username: str | None = Field(
        default=None, description="where Sentinel itself asks for a login"
    )
    sentinel_password: SecretStr | None = Field(
        default=None, description="where Sentinel itself asks for a login"
    )
    prefix: str = Field(
        default="turnkeep",
        pattern=r"^[A-Za-z0-9_./{}-]{1,64}$",
        description="what all keys begin with; programs with different prefixes share nothing",
    )
    list_all: bool = Field(
        default=True,
        description="false: no index of all users' sessions is kept",
    )
    timeout: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds a server may take for one answer, or to accept a connection",
    )
    retry_for: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds for which a call is repeated while the server is away or fails over",
    )
    max_connections: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description="calls at a time, each with a connection; further ones wait their turn",
    )
    wait_replicas: int = Field(
        default=0,
        ge=0,
        le=100,
        description="replicas that must have a write before it returns",
    )
    rewrite_after_erase: bool = Field(
        default=False,
        description="true: after an erase the server rewrites its append-only file at once",
    )
    tls_ca: Path | None = Field(
        default=None,
        description="file of the authorities to trust (the system's if not given); relative paths "
        "start from the folder of this configuration",
    )
    tls_cert: Path | None = Field(default=None, description="file of a client certificate")
    tls_key: Path | None = Field(default=None, description="file of its key")

    @model_validator(mode="after")
    def _url_is_one(self) -> Self:
        self.place()
        return self

    def place(self) -> Place:
        """Give what the url names. Raises ValueError, without the url's text."""
        place = parse_place(self.url.get_secret_value())
        if self.username is not None:
            place = place._replace(username=self.username)
        if self.password is not None:
            place = place._replace(password=self.password.get_secret_value())
        return place
