"""`demo`: from nothing to recommendations, over the same HTTP API that a shop uses."""

import asyncio
import base64
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.api import Api
from infra.cli.bars import bars
from infra.cli.console import console, fail, print_urls, say
from infra.cli.data import import_shown
from infra.cli.engines import EngineOption, require_installed, say_engines
from infra.cli.maintenance import create_key
from infra.cli.options import StateOption, state_folder
from infra.cli.stack import run_in_foreground
from infra.cli.training import TrainingOption, follow, start_or_join, training_request
from infra.local.stack import Stack
from infra.local.state import StateFolder
from infra.local.supervisor import Supervisor
from shared.contracts.admin import TrainingCreate
from shared.contracts.public import Item, ItemCreate, RecommendationRequest, Recommendations
from shared.contracts.ranking import ScoreShares
from shared.data.dataset import Dataset
from shared.data.opening import SYNTHETIC, open_dataset
from shared.data.records import ItemRecord, RowError
from shared.data.synthetic import SyntheticShop
from shared.database.api_keys import Scope
from shared.database.interactions import InteractionRepository
from shared.database.items import ItemRepository
from shared.database.session import Database
from shared.errors import ConflictError, InvalidInputError, MmesidError, UnavailableError
from shared.modeling.modality import Modality
from shared.positives import is_positive
from shared.settings import EventSettings, Settings, load_settings

CATALOG = "default"
SERVED_WITHIN_S = 90.0
ASK_EVERY_S = 0.5
HISTORY_LENGTH = 10
RECOMMENDED = 10
SIMILAR = 3
SHARES = tuple(ScoreShares.model_fields)
# What --fresh removes from the state folder.
KEPT_STATE = ("postgres", "valkey", "artifacts", "cache", "qdrant", "demo.json")


def demo(
    data: Annotated[
        Path, typer.Option(help="A folder with a data set, or `synthetic`: a made-up shop.")
    ] = Path(SYNTHETIC),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an earlier demo made.")
    ] = False,
    leave: Annotated[bool, typer.Option("--exit", help="Stop when everything is shown.")] = False,
    engine: EngineOption = None,
    training: TrainingOption = "{}",
    state: StateOption = None,
) -> None:
    """Start everything, load a data set, train, go live, then add an item and recommend."""
    require_installed(engine, "demo")
    folder = state_folder(state)
    try:
        dataset = open_dataset(data)
    except MmesidError as error:
        fail(error)
    story = Demo(folder, dataset, data, training_request(training), leave=leave)
    ended_by = run_in_foreground(
        folder, story.play, engine=engine, before=lambda: _forget(folder, fresh)
    )
    if ended_by is not None and not story.is_told:
        raise typer.Exit(128 + ended_by)


def _forget(folder: StateFolder, fresh: bool) -> None:
    for name in KEPT_STATE if fresh else ():
        path = folder.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@dataclass
class Demo:
    """The steps of the demo, in the order of `play`."""

    folder: StateFolder
    dataset: Dataset
    source: Path
    training: TrainingCreate
    leave: bool
    is_told: bool = False

    async def play(self, stack: Stack, _: Supervisor) -> None:
        os.environ.update(stack.environment)
        settings = load_settings()
        database = Database(settings.database)
        try:
            self._require_same_data()
            key = await self._key(settings)
            async with Api(stack.url("gateway"), key) as api:
                if await self._live_bundle(api) is None:
                    await import_shown(self.dataset, database, settings, CATALOG)
                    await self._train(api)
                else:
                    say("A bundle is live: import and training are skipped; --fresh redoes them.")
                await self._show(api, database, stack, key)
        finally:
            await database.close()
        self.is_told = True
        if not self.leave:
            say("The stack is up. Ctrl-C stops it.")
            await asyncio.Event().wait()

    def _require_same_data(self) -> None:
        """The state folder belongs to one data set."""
        path = self.folder.path / "demo.json"
        name = self.dataset.name
        if path.exists():
            known = json.loads(path.read_text())["dataset"]
            if known != name:
                raise ConflictError(
                    f"{self.folder.path} holds the data set {known}, not {name}: "
                    "add --fresh to start over, or --state FOLDER to keep both"
                )
        path.write_text(json.dumps({"dataset": name}) + "\n")

    async def _key(self, settings: Settings) -> str:
        scopes = [Scope.READ, Scope.WRITE, Scope.ADMIN]
        return await create_key(settings, CATALOG, name="demo", scopes=scopes)

    async def _live_bundle(self, api: Api) -> str | None:
        bundles = (await api.bundles()).bundles
        return next((bundle.version for bundle in bundles if bundle.state == "live"), None)

    async def _train(self, api: Api) -> None:
        say("Training a bundle:")
        with bars() as shown:
            training = await follow(api, await start_or_join(api, self.training), shown)
        if await self._live_bundle(api) is None:
            raise ConflictError(f"bundle {training.bundle} was made, but did not pass its gates")

    async def _show(self, api: Api, database: Database, stack: Stack, key: str) -> None:
        history = await self._history(database)
        request = RecommendationRequest(history=history, k=RECOMMENDED)
        await self._served(api, request)
        await asyncio.to_thread(say_engines, stack.description(ready=True))
        create = await asyncio.to_thread(self._new_item)
        item = await self._ready(api, await api.post_item(create))
        await _print_item(api, item)
        recommended = await api.recommend(request)
        _print_recommendations(recommended, await self._titles(database, history))
        self._print_commands(stack, key, create, request)
        console.print()
        print_urls(stack.description(ready=True))

    async def _served(self, api: Api, request: RecommendationRequest) -> None:
        """Wait until the live bundle answers; services switch to it a moment after it goes live."""
        live = await self._live_bundle(api)
        deadline = asyncio.get_running_loop().time() + SERVED_WITHIN_S
        while True:
            try:
                if (await api.recommend(request)).bundle == live:
                    return
                last: MmesidError = UnavailableError(f"bundle {live} is not served yet")
            except UnavailableError as error:
                last = error
            if asyncio.get_running_loop().time() > deadline:
                raise last
            await asyncio.sleep(ASK_EVERY_S)

    def _new_item(self) -> ItemCreate:
        """An item that the training has not seen, with an image."""
        if isinstance(self.dataset, SyntheticShop):
            record = self.dataset.held_out_item()
            item_id, title = record.item_id, record.title
        else:
            record = self._first_with_image()
            item_id, title = f"demo-{record.item_id}", f"{record.title} (new edition)"
        image = record.read_image()
        return ItemCreate(
            item_id=item_id,
            title=title,
            description=record.description,
            categories=list(record.categories),
            brand=record.brand,
            attributes=dict(record.attributes),
            **({} if image is None else {"image_base64": base64.b64encode(image).decode()}),
        )

    def _first_with_image(self) -> ItemRecord:
        records = [row for row in self.dataset.items() if not isinstance(row, RowError)]
        if not records:
            raise InvalidInputError.of("data", f"{self.source} has no items")
        return next((record for record in records if record.has_image), records[0])

    async def _ready(self, api: Api, item: Item) -> Item:
        deadline = asyncio.get_running_loop().time() + SERVED_WITHIN_S
        while item.status == "pending":
            if asyncio.get_running_loop().time() > deadline:
                raise UnavailableError(f"item {item.item_id} is still pending")
            await asyncio.sleep(ASK_EVERY_S)
            item = await api.item(item.item_id)
        if item.problem is not None:
            raise UnavailableError(f"item {item.item_id} failed: {item.problem.detail}")
        return item

    async def _history(self, database: Database) -> list[str]:
        """The history of the data set's first user with one."""
        rule = load_settings().events
        first = await asyncio.to_thread(self._first_user, rule)
        async with database.transaction() as session:
            return await InteractionRepository(session, CATALOG).history(
                first, limit=HISTORY_LENGTH, rule=rule
            )

    def _first_user(self, rule: EventSettings) -> str:
        for row in self.dataset.interactions():
            if not isinstance(row, RowError) and is_positive(row.event_type, row.rating, rule):
                return row.user_id
        raise InvalidInputError.of("data", f"{self.source} has no interactions that are positives")

    async def _titles(self, database: Database, item_ids: list[str]) -> list[str]:
        async with database.transaction() as session:
            rows = await ItemRepository(session, CATALOG).get_many(item_ids)
        return [rows[item_id].title if item_id in rows else item_id for item_id in item_ids]

    def _print_commands(
        self, stack: Stack, key: str, create: ItemCreate, request: RecommendationRequest
    ) -> None:
        url = stack.url("gateway")
        item = create.model_dump(include={"title", "categories"}, mode="json")
        console.print()
        say("The same by hand:")
        for line in (
            f"export KEY={key}",
            *_curl(f"{url}/v1/items", {"item_id": "my-item", **item}),
            *_curl(f"{url}/v1/recommendations", request.model_dump(include={"history", "k"})),
        ):
            console.print(f"  {line}", markup=False)


async def _print_item(api: Api, item: Item) -> None:
    console.print()
    say(f"POST /v1/items: {item.title} ({item.item_id}) has these semantic IDs:")
    semantic_ids = item.semantic_ids or {}
    for modality in (one for one in Modality if one in semantic_ids):
        imputed = "  imputed from similar items" if modality in item.imputed else ""
        console.print(
            f"  {modality:<14} {' '.join(f'{code:3d}' for code in semantic_ids[modality])}{imputed}"
        )
    similar = await api.similar(item.item_id, SIMILAR)
    console.print(
        "  most similar:  " + ";  ".join(row.title for row in similar.items), markup=False
    )


def _curl(url: str, body: object) -> tuple[str, ...]:
    quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return (
        f'curl -X POST {url} -H "Authorization: Bearer $KEY" \\',
        f"  -H 'Content-Type: application/json' -d '{quoted}'",
    )


def _print_recommendations(recommended: Recommendations, history: list[str]) -> None:
    console.print()
    say(f"POST /v1/recommendations (bundle {recommended.bundle}), for who liked:")
    for title in history:
        console.print(f"  - {title}", markup=False)
    table = Table("#", "item", "title", "score", *SHARES, box=None)
    for rank, row in enumerate(recommended.items, start=1):
        shares = row.shares
        parts = (
            [""] * len(SHARES)
            if shares is None
            else [f"{getattr(shares, part):+.2f}" for part in SHARES]
        )
        table.add_row(str(rank), row.item_id, row.title, f"{row.score:.3f}", *parts)
    console.print(table)
