from sqlalchemy import text

from shared.database.api_keys import ApiKeyRepository, Scope


async def test_a_key_is_found_by_itself_only_and_is_not_stored(database):
    async with database.transaction() as session:
        keys = ApiKeyRepository(session)
        key = await keys.create("shop", name="web", scopes=[Scope.READ, Scope.WRITE])
        row = await keys.find(key)
        assert (row.catalog_id, row.scopes) == ("shop", ["read", "write"])
        assert await keys.find(f"{key}x") is None
        stored = (
            await session.execute(text("SELECT row_to_json(k)::text FROM api_keys k"))
        ).scalar()
    assert key not in stored


async def test_a_revoked_key_is_not_found(database):
    async with database.transaction() as session:
        keys = ApiKeyRepository(session)
        key = await keys.create("shop", name="web", scopes=[Scope.ADMIN])
        await session.execute(text("UPDATE api_keys SET revoked_at = now()"))
        session.expire_all()
        assert await keys.find(key) is None


async def test_a_key_that_was_removed_is_gone_and_the_others_stay(database):
    async with database.transaction() as session:
        keys = ApiKeyRepository(session)
        one = await keys.create("shop", name="web", scopes=[Scope.READ])
        other = await keys.create("shop", name="web", scopes=[Scope.READ])
        await keys.remove(one)
        assert await keys.find(one) is None
        assert await keys.find(other) is not None
