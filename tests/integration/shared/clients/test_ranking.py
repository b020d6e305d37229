"""What ranking serves changes in every replica, or the change is not done."""

from urllib.parse import urlsplit

import pytest

from shared.clients import ranking as module
from shared.clients.ranking import RankingClient
from shared.clients.replicas import replicas_of
from shared.contracts.common import BundleReference
from shared.contracts.ranking import RankRequest, UpsertItemsRequest
from shared.errors import UnavailableError
from shared.settings import ServiceUrls
from tests.integration.conftest import BUNDLE, RankingStandIn

pytestmark = pytest.mark.integration
CHANGE = UpsertItemsRequest(
    catalog_id="default",
    bundle=BUNDLE,
    items=[
        {"item_id": "lamp", "version": 1, "vectors": {}, "codes": {}, "neighbours": []},
    ],
)


@pytest.fixture
async def replicas():
    return RankingStandIn(), RankingStandIn()


@pytest.fixture
async def client(replicas, serve, monkeypatch):
    """It asks the first of two replicas, and knows a name of both."""
    async with serve(replicas[0].app) as one, serve(replicas[1].app) as other:

        async def both(url):
            assert url == "http://ranking-replicas:8100"
            return [one, other]

        monkeypatch.setattr(module, "replicas_of", both)
        services = ServiceUrls(ranking=one, ranking_replicas="http://ranking-replicas:8100")
        client = RankingClient(services)
        yield client
        await client.close()


def known(replica):
    return set(replica.items.get("default", {}))


async def test_an_item_that_comes_or_goes_comes_and_goes_at_every_replica(client, replicas):
    await client.upsert(CHANGE)
    assert [known(replica) for replica in replicas] == [{"lamp"}, {"lamp"}]
    await client.remove("default", "lamp", version=2)
    assert [known(replica) for replica in replicas] == [set(), set()]


@pytest.mark.parametrize("away", [0, 1])
async def test_while_a_replica_is_away_the_others_have_the_item_and_the_change_is_not_done(
    client, replicas, away
):
    replicas[away].is_down = True
    with pytest.raises(UnavailableError):
        await client.upsert(CHANGE)
    with pytest.raises(UnavailableError):
        await client.remove("default", "nothing", version=1)
    assert known(replicas[1 - away]) == {"lamp"}
    replicas[away].is_down = False
    await client.upsert(CHANGE)
    assert [known(replica) for replica in replicas] == [{"lamp"}, {"lamp"}]


async def test_a_bundle_is_loaded_and_goes_live_in_every_replica(client, replicas):
    bundle = BundleReference(catalog_id="default", version="20260102T000000-next")
    await client.load_bundle(bundle, timeout_s=5)
    await client.activate_bundle(bundle, timeout_s=5)
    for replica in replicas:
        assert bundle.version in replica.loaded
        assert replica.active == {"default": bundle.version}


async def test_one_replica_answers_a_request(client, replicas):
    await client.rank(RankRequest(catalog_id="default", history=[], k=1))
    assert [len(replica.requests) for replica in replicas] == [1, 0]


async def test_without_replicas_a_change_goes_to_the_one_service(stand_ins):
    client = RankingClient(ServiceUrls(ranking=stand_ins.urls["ranking"]))
    await client.upsert(CHANGE)
    await client.close()
    assert known(stand_ins.ranking) == {"lamp"}


async def test_a_name_becomes_a_url_for_each_of_its_addresses():
    found = await replicas_of("http://localhost:8100")
    assert "http://127.0.0.1:8100" in found
    assert {urlsplit(url).port for url in found} == {8100}
    assert found == sorted(set(found))


async def test_a_name_of_nothing_is_a_service_that_is_away():
    with pytest.raises(UnavailableError, match=r"nowhere\.invalid"):
        await replicas_of("http://nowhere.invalid:8100")
