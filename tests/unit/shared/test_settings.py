import pytest

from shared.errors import InvalidInputError
from shared.settings import (
    Settings,
    known_variables,
    refuse_unknown,
    with_files,
)


def test_a_nested_setting_is_read_from_its_path(monkeypatch):
    monkeypatch.setenv("MMESID_DATABASE__POOL_SIZE", "3")

    assert Settings().database.pool_size == 3


def test_sections_that_are_not_set_keep_their_defaults(monkeypatch):
    monkeypatch.setenv("MMESID_RANKING__MAX_BATCH", "7")

    settings = Settings()

    assert settings.ranking.max_batch == 7
    assert settings.ranking.queue_size == Settings.model_fields["ranking"].default.queue_size


def test_a_misspelt_variable_is_refused_by_name():
    with pytest.raises(InvalidInputError) as caught:
        refuse_unknown(["MMESID_DATABASE__POOLSIZE", "PATH", "MMESID_DATABASE__URL"])

    assert caught.value.fields[0].field == "MMESID_DATABASE__POOLSIZE"


def test_every_documented_variable_is_accepted():
    refuse_unknown(known_variables())


def test_a_value_of_the_wrong_kind_is_refused(monkeypatch):
    monkeypatch.setenv("MMESID_SERVER__PORT", "99999")

    with pytest.raises(ValueError, match="less than or equal to 65535"):
        Settings()


def test_a_value_may_lie_in_a_file_beside_others_of_its_section(monkeypatch, tmp_path):
    secret = tmp_path / "database_url"
    secret.write_text("postgresql+psycopg://mmesid:secret@db/mmesid\n")
    monkeypatch.delenv("MMESID_DATABASE__URL", raising=False)
    monkeypatch.setenv("MMESID_DATABASE__URL_FILE", str(secret))
    monkeypatch.setenv("MMESID_DATABASE__POOL_SIZE", "3")

    settings = Settings()

    assert settings.database.url == "postgresql+psycopg://mmesid:secret@db/mmesid"
    assert settings.database.pool_size == 3


def test_a_file_that_is_not_there_is_refused_by_its_variable(tmp_path):
    with pytest.raises(InvalidInputError, match="No such file") as caught:
        with_files({"MMESID_REDIS__URL_FILE": str(tmp_path / "missing")})

    assert caught.value.fields[0].field == "MMESID_REDIS__URL_FILE"


def test_a_value_in_a_file_and_outside_of_it_is_refused(tmp_path):
    both = {"MMESID_REDIS__URL": "redis://a", "MMESID_REDIS__URL_FILE": str(tmp_path)}

    with pytest.raises(InvalidInputError, match="MMESID_REDIS__URL is set, too"):
        with_files(both)


def test_a_misspelt_variable_of_a_file_is_refused():
    refuse_unknown(["MMESID_REDIS__URL_FILE"])

    with pytest.raises(InvalidInputError):
        refuse_unknown(["MMESID_REDIS__URI_FILE"])


def test_the_gateway_waits_longer_than_ranking_until_its_fallback_answers():
    settings = Settings()

    assert settings.services.timeout_s > settings.ranking.deadline_s
