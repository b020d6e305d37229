"""Serving processes follow the bundles of each catalogue that answer, without a restart.

    on start, on a notice, every interval:   live in the database  !=  served here
      -> load it beside the served one -> switch
    and then:   the one that was live before, and those with a share of the traffic
      -> load what is not held yet, in the background -> release what is none of these any more

The database is the truth. A load that fails is tried again; what is served stays until it succeeds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from shared.database.bundles import BundleRepository, BundlesInService
from shared.database.session import Database
from shared.errors import BundleNotLoadedError, NotFoundError, UnavailableError
from shared.notices import Notices

Loaded = TypeVar("Loaded")

CANCEL_AGAIN_AFTER_S = 0.5
# Of intervals: what cannot be loaded and is not live must not keep the machine busy with trying.
PAUSE_AFTER_FAILURE = 10

log = structlog.get_logger()


@dataclass(eq=False)
class _Held(Generic[Loaded]):
    version: str
    loaded: Loaded
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Failure:
    problem: str
    try_again_at: float


@dataclass(eq=False)
class _Catalog(Generic[Loaded]):
    """wanted: what should be held, by the last look at the database."""

    active: str | None = None
    wanted: frozenset[str] = frozenset()
    held: dict[str, _Held[Loaded]] = field(default_factory=dict)
    loading: dict[str, "asyncio.Task[Loaded]"] = field(default_factory=dict)
    releasing: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    switching: asyncio.Lock = field(default_factory=asyncio.Lock)
    looked: bool = False
    problem: str | None = None
    failed: dict[str, _Failure] = field(default_factory=dict)


async def _nothing(catalog_id: str, loaded: object) -> None:
    """Nothing is to be done when a bundle becomes the active one."""


class BundleFollower(Generic[Loaded]):
    """The loaded bundles of some catalogues: the active one, the one before, those with traffic,
    one being prepared.

    load(catalog_id, version): make a bundle ready to serve. activated(catalog_id, loaded): it is
    served from now on. release(catalog_id, loaded): it is not held any more and nobody uses it.
    """

    def __init__(
        self,
        database: Database,
        notices: Notices,
        catalogs: Sequence[str],
        *,
        interval_s: float,
        load: Callable[[str, str], Awaitable[Loaded]],
        release: Callable[[str, Loaded], Awaitable[None]],
        activated: Callable[[str, Loaded], Awaitable[None]] = _nothing,
    ) -> None:
        self._database = database
        self._notices = notices
        self._interval_s = interval_s
        self._load_bundle = load
        self._release_bundle = release
        self._activated = activated
        self._catalogs: dict[str, _Catalog[Loaded]] = {name: _Catalog() for name in catalogs}
        self._task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to follow, in the background."""
        self._task = asyncio.create_task(self._follow_forever())

    async def stop(self) -> None:
        """Follow no more, and give up loads that have not finished. What is held stays held."""
        loads = [task for catalog in self._catalogs.values() for task in catalog.loading.values()]
        pending: set[asyncio.Task[Any]] = {
            *loads,
            *self._background,
            *([self._task] if self._task else []),
        }
        # More than once: redis-py loses a cancellation that meets the end of its time-out.
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER_S)

    @contextmanager
    def use(self, catalog_id: str, version: str | None = None) -> Iterator[Loaded]:
        """The active bundle, or the one named; it is not released while the block runs.

        Raises:
            NotFoundError: the catalogue is not served here.
            UnavailableError: no bundle is active.
            BundleNotLoadedError: the one named is not loaded.
        """
        catalog = self._catalog(catalog_id)
        wanted = version or catalog.active
        if wanted is None:
            raise UnavailableError(
                f"Catalogue {catalog_id} has no live bundle yet", retry_after_s=5
            )
        held = catalog.held.get(wanted)
        if held is None:
            raise BundleNotLoadedError(
                f"Bundle {wanted} of catalogue {catalog_id} is not loaded", retry_after_s=1
            )
        held.users += 1
        held.unused.clear()
        try:
            yield held.loaded
        finally:
            held.users -= 1
            if held.users == 0:
                held.unused.set()

    def active(self, catalog_id: str) -> str | None:
        """The version that is served. Raises NotFoundError for a catalogue not served here."""
        return self._catalog(catalog_id).active

    def held(self, catalog_id: str) -> dict[str, Loaded]:
        """All that is loaded, by version. Raises NotFoundError as `active` does."""
        return {v: held.loaded for v, held in self._catalog(catalog_id).held.items()}

    def wanted(self, catalog_id: str) -> frozenset[str]:
        """The versions that are held or soon will be. Raises NotFoundError as `active` does."""
        catalog = self._catalog(catalog_id)
        return catalog.wanted | catalog.held.keys()

    @property
    def catalogs(self) -> tuple[str, ...]:
        return tuple(self._catalogs)

    async def load(self, catalog_id: str, version: str) -> Loaded:
        """Load a bundle beside the active one. Calls for the same version share one load.

        Raises what the load raised, and NotFoundError for a catalogue not served here.
        """
        catalog = self._catalog(catalog_id)
        while version in catalog.releasing:
            await asyncio.wait([catalog.releasing[version]])
        if version in catalog.held:
            return catalog.held[version].loaded
        task = catalog.loading.get(version)
        if task is None:
            task = asyncio.create_task(self._load(catalog_id, version))
            catalog.loading[version] = task
            task.add_done_callback(lambda done: _forget(catalog.loading, version, done, loud=False))
        # A caller that goes away does not take the load from the others.
        return await asyncio.shield(task)

    async def activate(self, catalog_id: str, version: str) -> None:
        """Serve from this bundle from now on; it is loaded first where it is not.

        Raises as `load` does.
        """
        await self.load(catalog_id, version)
        async with self._catalog(catalog_id).switching:
            await self._switch(catalog_id, version, await self._in_service(catalog_id))

    async def follow(self) -> None:
        """Bring every catalogue to the bundle that is live in the database. Raises nothing."""
        await asyncio.gather(*(self._follow(catalog_id) for catalog_id in self._catalogs))

    def require_ready(self) -> None:
        """Raises UnavailableError while a catalogue's live bundle should be served and is not."""
        for catalog_id, catalog in self._catalogs.items():
            if catalog.active is not None:
                continue
            if not catalog.looked:
                cause = catalog.problem or "it is being loaded"
                raise UnavailableError(
                    f"The live bundle of catalogue {catalog_id} is not served yet: {cause}",
                    retry_after_s=2,
                )

    async def _follow_forever(self) -> None:
        await self.follow()
        async for _ in self._notices.wait(at_most_s=self._interval_s):
            await self.follow()

    async def _follow(self, catalog_id: str) -> None:
        catalog = self._catalogs[catalog_id]
        try:
            in_service = await self._in_service(catalog_id)
            if in_service.live is not None and in_service.live != catalog.active:
                await self.load(catalog_id, in_service.live)
                async with catalog.switching:
                    # Another bundle may have gone live while this one was loading.
                    now = await self._in_service(catalog_id)
                    if in_service.live == now.live:
                        await self._switch(catalog_id, in_service.live, now)
            elif catalog.active is not None:
                self._hold(catalog_id, in_service)
            catalog.looked, catalog.problem = True, None
        except Exception as error:  # whatever it is, the served bundle stays; tried again soon
            self._note(catalog_id, error)

    def _note(self, catalog_id: str, error: Exception) -> None:
        catalog = self._catalogs[catalog_id]
        problem = f"{type(error).__name__}: {error}"
        if problem != catalog.problem:
            log.warning("live bundle not followed", catalog_id=catalog_id, exc_info=error)
        catalog.problem = problem

    async def _in_service(self, catalog_id: str) -> BundlesInService:
        async with self._database.transaction() as session:
            return await BundleRepository(session, catalog_id).in_service()

    async def _load(self, catalog_id: str, version: str) -> Loaded:
        loaded = await self._load_bundle(catalog_id, version)
        self._catalogs[catalog_id].held[version] = _Held(version, loaded)
        log.info("bundle loaded", catalog_id=catalog_id, bundle=version)
        return loaded

    async def _switch(self, catalog_id: str, version: str, in_service: BundlesInService) -> None:
        """The caller holds the catalogue's lock. What is held for no reason is released."""
        catalog = self._catalogs[catalog_id]
        if version == catalog.active:
            return
        if version not in catalog.held:  # released since it was loaded
            await self.load(catalog_id, version)
        before, catalog.active = catalog.active, version
        catalog.wanted = in_service.all | catalog.held.keys()
        log.info("bundle active", catalog_id=catalog_id, bundle=version, before=before)
        await self._activated(catalog_id, catalog.held[version].loaded)
        self._hold(catalog_id, in_service)

    def _hold(self, catalog_id: str, in_service: BundlesInService) -> None:
        """Load what should be held, in the background; release what was wanted and is no more.

        What was loaded without being wanted is being prepared, and stays until the next switch.
        """
        catalog = self._catalogs[catalog_id]
        for version in in_service.all - catalog.held.keys() - catalog.loading.keys():
            failure = catalog.failed.get(version)
            if failure is None or time.monotonic() >= failure.try_again_at:
                self._load_in_background(catalog_id, version)
        wanted_no_more = catalog.wanted - in_service.all - {catalog.active}
        catalog.wanted = in_service.all
        for version in wanted_no_more & catalog.held.keys():
            self._release(catalog_id, version)

    def _load_in_background(self, catalog_id: str, version: str) -> None:
        """A load that fails is tried again some looks later; its error is told once."""
        catalog = self._catalogs[catalog_id]

        async def load() -> None:
            try:
                await self.load(catalog_id, version)
                catalog.failed.pop(version, None)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                before = catalog.failed.get(version)
                if before is None or before.problem != problem:
                    log.warning("bundle not held", bundle=version, exc_info=error)
                pause = PAUSE_AFTER_FAILURE * self._interval_s
                catalog.failed[version] = _Failure(problem, time.monotonic() + pause)

        task = asyncio.create_task(load())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _release(self, catalog_id: str, version: str) -> None:
        catalog = self._catalogs[catalog_id]
        task = asyncio.create_task(self._release_unused(catalog_id, catalog.held.pop(version)))
        catalog.releasing[version] = task
        task.add_done_callback(lambda done: _forget(catalog.releasing, version, done, loud=True))

    async def _release_unused(self, catalog_id: str, held: _Held[Loaded]) -> None:
        if held.users:
            await held.unused.wait()
        await self._release_bundle(catalog_id, held.loaded)
        log.info("bundle released", catalog_id=catalog_id, bundle=held.version)

    def _catalog(self, catalog_id: str) -> _Catalog[Loaded]:
        catalog = self._catalogs.get(catalog_id)
        if catalog is None:
            raise NotFoundError(f"Catalogue {catalog_id} is not served here")
        return catalog


def _forget(
    tasks: dict[str, "asyncio.Task[Any]"], version: str, done: "asyncio.Task[Any]", *, loud: bool
) -> None:
    """A finished task is not kept. The error of a load is told to those who asked for it."""
    del tasks[version]
    error = None if done.cancelled() else done.exception()
    if loud and error is not None:
        log.warning("bundle not released cleanly", bundle=version, exc_info=error)
