"""Settings: what an operator may change, read once from the environment; a typo is fatal.

A service adds its own fields to `ServiceSettings`. What only a release may change is a limit and
lives in `services/domain/limits.py`. Never here: `os.environ`; a process passes it in.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from services.chassis import addresses
from services.chassis.settings_error import SettingsError

__all__ = ["PREFIX", "Address", "ServiceSettings", "SettingsError", "read"]

PREFIX = "HIVECORE_"

S = TypeVar("S", bound="ServiceSettings")


def _checked_address(text: str) -> str:
    addresses.split(text)
    return text


Address = Annotated[str, AfterValidator(_checked_address)]
"""host:port."""


class ServiceSettings(BaseSettings):
    """What every service can be told; HIVECORE_LISTEN sets `listen`, and so on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    listen: Address = "127.0.0.1:0"
    """Where gRPC listens; port 0 means any free one."""
    metrics_listen: Address = "127.0.0.1:0"
    """Where Prometheus finds /metrics; port 0 means any free one."""
    health_listen: Address | None = None
    """Where health is answered in plain text too, for probes that cannot do TLS."""
    certificate_file: Path | None = None
    """This process's certificate to other services (PEM); with the next two, or none of the three."""
    key_file: Path | None = None
    """Its private key (PEM, not encrypted)."""
    authority_file: Path | None = None
    """The authority whose certificates the services show each other (PEM). Changed files are read again."""
    instance: str = "1"
    """Tells processes of one service apart, in logs and in leases."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    traces: Literal["off", "file", "otlp"] = "off"
    """Whether requests are traced, and where to: a file of JSON lines, or OTLP as OpenTelemetry's own OTEL_ variables say."""
    traces_file: Path | None = None
    """Where spans are appended with `traces` file."""
    endpoint_file: Path | None = None
    """Written once the process listens: JSON with `grpc`, `metrics` (host:port) and `pid`."""
    drain_seconds: float = Field(default=0.0, ge=0, le=60)
    """How long a server that stops still takes calls after its health says NOT_SERVING: as long as it takes
    balancers, and callers that watch its health, to look elsewhere. 0 where there is nowhere else."""
    stop_with_parent: bool = False
    """Stop gracefully when standard input, then a pipe, reaches its end."""

    @model_validator(mode="after")
    def _has_whole_papers(self) -> Self:
        papers = (self.certificate_file, self.key_file, self.authority_file)
        if any(papers) and not all(papers):
            raise ValueError(
                "HIVECORE_CERTIFICATE_FILE, HIVECORE_KEY_FILE and HIVECORE_AUTHORITY_FILE are given together"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `read` only, never from the process's environment behind its back."""
        return (init_settings,)


def read(cls: type[S], environment: Mapping[str, str]) -> S:
    """Build `cls` from `environment`. Raises `SettingsError` naming every variable that is wrong.

    Collections are JSON unless the field says otherwise (`pydantic_settings.NoDecode`).
    """
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    known = {PREFIX + field.upper() for field in cls.model_fields}
    if unknown := sorted(given.keys() - known):
        raise SettingsError("; ".join(_unknown(name, known) for name in unknown))
    try:
        source = EnvSettingsSource(cls)
        source.env_vars = {name.lower(): value for name, value in given.items()}
        return cls(**source())
    except ValidationError as error:
        raise SettingsError("; ".join(_wrong(detail["loc"], detail["msg"]) for detail in error.errors())) from None
    except ValueError as error:
        raise SettingsError(f"the environment is not readable: {error}") from None


def _unknown(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting" + (f": did you mean {close[0]}?" if close else "")


def _wrong(location: tuple[int | str, ...], message: str) -> str:
    if not location:  # Of all settings together.
        return message
    field, *inside = (str(part) for part in location)
    return f"{PREFIX}{field.upper()}{''.join(f'[{part}]' for part in inside)}: {message}"
