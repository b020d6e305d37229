"""Every setting of the platform, read from the environment.

`MMESID_DATABASE__URL` is `settings.database.url`: the prefix, then the path joined by two
underscores. `MMESID_DATABASE__URL_FILE` names a file that holds the value instead: a secret. A
variable that begins with the prefix and names no setting is refused, so that a misspelt one cannot
be silently without effect.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.errors import InvalidInputError

PREFIX = "MMESID_"
DELIMITER = "__"
IN_A_FILE = "_FILE"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Section):
    url: str = "postgresql+psycopg://mmesid@127.0.0.1:5432/mmesid"
    pool_size: int = Field(default=10, ge=1)


class RedisSettings(_Section):
    url: str = "redis://127.0.0.1:6379/0"


class ArtifactSettings(_Section):
    """Where bundles, checkpoints and item images lie: a folder, or any fsspec URL."""

    url: str = ".mmesid/artifacts"
    cache: Path = Field(
        default=Path(".mmesid/cache"), description="local copies of artifacts of a remote store"
    )


class ServiceUrls(_Section):
    embedding: str = "http://127.0.0.1:8101"
    tokenization: str = "http://127.0.0.1:8102"
    ranking: str = "http://127.0.0.1:8103"
    gateway: str | None = Field(
        default=None,
        description="where the command line finds the API; None: the stack that runs here",
    )
    ranking_replicas: str | None = Field(
        default=None,
        description="where there are several: a URL whose host resolves to each of them",
    )
    timeout_s: float = Field(default=10.0, gt=0)


class ServerSettings(_Section):
    """The address this process listens on."""

    host: str = "127.0.0.1"
    port: int = Field(default=8100, ge=1, le=65535)


class ImageSettings(_Section):
    max_bytes: int = Field(
        default=5 * 2**20, ge=1, description="in base64 it still fits into gateway.max_body_bytes"
    )
    max_pixels: int = Field(default=50_000_000, ge=1)
    fetch_timeout_s: float = Field(default=5.0, gt=0)
    allow_private_hosts: bool = Field(
        default=False, description="let image URLs point at loopback and private addresses"
    )


class EncoderSettings(_Section):
    """Sources of the encoders: `minilm`, `efficientnet-lite0`, `clip:<id or folder>`, ..."""

    text: str = "minilm"
    image: str = "efficientnet-lite0"
    device: str = "auto"
    max_batch: int = Field(default=32, ge=1)
    max_wait_ms: float = Field(default=5.0, ge=0)
    queue_size: int = Field(default=1024, ge=1)
    threads: int | None = Field(default=None, ge=1)


class VectorSettings(_Section):
    """`embedded` keeps the index in a folder this process owns; `server` talks to Qdrant."""

    mode: Literal["embedded", "server"] = "embedded"
    folder: Path = Path(".mmesid/qdrant")
    url: str = "http://127.0.0.1:6333"
    api_key: str | None = None


class RankingSettings(_Section):
    """`auto` takes vLLM on a GPU; on a CPU, whichever engine a short measurement finds faster."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"
    catalogue: Literal["exact", "float16", "int8", "approximate"] = Field(
        default="exact",
        description="how candidates are found; all but `exact` score the best again exactly",
    )
    candidates: VectorSettings = Field(
        default=VectorSettings(folder=Path(".mmesid/candidates")),
        description="where the index of `approximate` lies",
    )
    device: str = "auto"
    max_batch: int = Field(default=32, ge=1)
    max_wait_ms: float = Field(
        default=0, ge=0, description="on transformers: how long an idle engine waits for company"
    )
    queue_size: int = Field(default=256, ge=1)
    deadline_s: float = Field(
        default=5.0, gt=0, description="after this long a request gets the fallback's answer"
    )
    threads: int | None = Field(default=None, ge=1)
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs that share one bundle's LLM")
    gpu_memory_share: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="of a GPU, for one bundle: live, former and next, or one with traffic, "
        "may be loaded at once",
    )
    kv_cache_bytes: int = Field(
        default=256 * 2**20,
        ge=2**20,
        description="keys and values of known prefixes; vLLM on a GPU has its share of it instead",
    )
    cache: Path = Field(
        default=Path(".mmesid/cache/base-models"),
        description="dense copies of base models that come in another format",
    )


class BundlePollSettings(_Section):
    """Notices come over Redis; the database is asked all the same, so that none is missed."""

    interval_s: float = Field(default=2.0, gt=0)


class GatewaySettings(_Section):
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_batch_line_bytes: int = Field(default=16 * 2**20, ge=1024)
    ready_wait_s: float = Field(
        default=10.0, ge=0, description="how long POST /v1/items waits for the SIDs before 202"
    )
    history_limit: int = Field(
        default=200, ge=1, description="latest positives that a user_id is recommended for by"
    )
    keep_recommendations_days: int = Field(
        default=30, ge=1, description="how long lists given are kept for the metrics of bundles"
    )


class EventWeights(_Section):
    """How much a kind of event says of what a user wants, against `minimum_weight`.

    An `interaction` is of no known kind: whoever sends or imports such events has no others.
    """

    view: float = Field(default=1.0, ge=0)
    click: float = Field(default=2.0, ge=0)
    cart: float = Field(default=3.0, ge=0)
    purchase: float = Field(default=4.0, ge=0)
    interaction: float = Field(default=4.0, ge=0)
    rating: float = Field(default=4.0, ge=0)


class EventSettings(_Section):
    """Which events are positives: what histories to rank by and sequences to train on are made of.

    By default all are but low ratings, since many catalogues begin with views alone. With
    `minimum_weight` 2 views no longer count, with 3 clicks neither.
    """

    weights: EventWeights = EventWeights()
    minimum_weight: float = Field(
        default=1.0, ge=0, description="an event whose kind weighs less is stored, but no positive"
    )
    positive_above: float = Field(
        default=3.0,
        description="an event of any kind with a rating up to this is stored, but no positive",
    )


class RelaySettings(_Section):
    interval_s: float = Field(default=1.0, gt=0)
    schedule_interval_s: float = Field(
        default=5.0, gt=0, description="between looks at what the training schedules ask for"
    )
    batch_size: int = Field(default=32, ge=1)
    first_retry_s: float = Field(default=1.0, gt=0)
    max_retry_s: float = Field(default=60.0, gt=0)
    grace_s: float = Field(
        default=12.0, ge=0, description="an item is left to the request that brought it this long"
    )


class TrainingSettings(_Section):
    """What a training run uses where its request says nothing else."""

    base_model: str = Field(
        default="tiny", description="`tiny`, `smollm2`, or the hub id or folder of a Llama model"
    )
    base_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="what the base model's weights are held in"
    )
    device: str = "auto"
    queue: Literal["cpu", "gpu"] = Field(
        default="cpu", description="whose workers train: those of `worker --queues gpu`, or of cpu"
    )
    processes: int = Field(
        default=1, ge=1, description="that fine-tune the ranker together, one a GPU"
    )
    threads: int | None = Field(default=None, ge=1)
    seed: int = 0
    max_history: int = Field(default=50, ge=1)
    embed_batch: int = Field(default=64, ge=1)
    backfill_chunk: int = Field(
        default=256, ge=1, description="items of a backfill that a worker takes at a time"
    )
    lease_s: float = Field(default=30.0, gt=1)
    keep_bundles: int = Field(default=5, ge=2, description="bundles kept for rollback")
    warm_new_items: float = Field(
        default=0.2, ge=0, le=1, description="more than this share of new items starts cold"
    )
    warm_new_interactions: float = Field(
        default=0.5, ge=0, le=1, description="more than this share of new ones starts cold"
    )
    gate_users: int = Field(
        default=2000, ge=1, description="at most, that the live bundle is measured on again"
    )
    smoke_requests: int = Field(
        default=32, ge=2, description="asked of a bundle before it goes live"
    )
    latency_gate_ms: float = Field(
        default=1000.0, gt=0, description="the 95th percentile that is always good enough"
    )
    latency_gate_factor: float = Field(
        default=2.0, ge=1, description="slower than the live bundle by at most this"
    )


class _Variables(EnvSettingsSource):
    """The environment, and the files that it names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return with_files(super()._load_env_vars())


class Settings(BaseSettings):
    """All settings; each service reads the sections it needs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True
    )

    catalogs: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")], ...] = (
        "default",
    )
    data_dir: Path | None = Field(
        default=None, description="a folder of data sets for tests and benchmarks"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    services: ServiceUrls = ServiceUrls()
    server: ServerSettings = ServerSettings()
    images: ImageSettings = ImageSettings()
    encoders: EncoderSettings = EncoderSettings()
    vectors: VectorSettings = VectorSettings()
    ranking: RankingSettings = RankingSettings()
    bundle_poll: BundlePollSettings = BundlePollSettings()
    gateway: GatewaySettings = GatewaySettings()
    events: EventSettings = EventSettings()
    relay: RelaySettings = RelaySettings()
    training: TrainingSettings = TrainingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What a caller gives, then the environment."""
        return init_settings, _Variables(settings_cls)


def known_variables() -> set[str]:
    """The names of all environment variables that set something."""
    return {name.upper() for name in _names_of(Settings, PREFIX)}


def _names_of(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for key, info in section.model_fields.items():
        yield f"{prefix}{key}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _names_of(info.annotation, f"{prefix}{key}{DELIMITER}")


def refuse_unknown(variables: Iterable[str]) -> None:
    """Raises InvalidInputError for the first variable with our prefix that sets nothing."""
    known = known_variables()
    for variable in sorted(variables):
        name = variable.upper()
        if name.startswith(PREFIX) and not {name, name.removesuffix(IN_A_FILE)} & known:
            raise InvalidInputError.of(variable, "no setting has this name")


def with_files(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """The variables, with those that end in `_FILE` as what is in their files.

    A line break at the end of a file is no part of the value.

    Raises:
        InvalidInputError: a file cannot be read, or the value is given in both ways.
    """
    known = known_variables()
    values = dict(variables)
    for variable, file in variables.items():
        name = variable.upper().removesuffix(IN_A_FILE)
        if name == variable.upper() or name not in known or file is None:
            continue
        if name in map(str.upper, variables):
            raise InvalidInputError.of(variable.upper(), f"{name} is set, too")
        try:
            value = Path(file).read_text().removesuffix("\n")
        except OSError as error:
            raise InvalidInputError.of(variable.upper(), f"{file}: {error.strerror}") from error
        del values[variable]
        values[variable[: -len(IN_A_FILE)]] = value
    return values


@cache
def load_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        InvalidInputError: a variable with the prefix names no setting, or a file cannot be read.
        pydantic.ValidationError: a value is of the wrong kind.
    """
    refuse_unknown(os.environ)
    return Settings()
