"""What KEDA asks PostgreSQL is a number that follows the work under way."""

from pathlib import Path

import psycopg
import pytest
import yaml

pytestmark = pytest.mark.integration
COMPONENTS = Path(__file__).parents[3] / "k8s" / "components"
RUN = """
    INSERT INTO training_runs (run_id, catalog_id, state, request, stages)
    VALUES (gen_random_uuid(), %s, %s, '{}', '[]')
"""


def query_of(file):
    (scaled,) = yaml.safe_load_all((COMPONENTS / file).read_text())
    (query,) = [
        trigger["metadata"]["query"]
        for trigger in scaled["spec"]["triggers"]
        if trigger["type"] == "postgresql"
    ]
    return query


@pytest.mark.parametrize(
    ("file", "expected"),
    [("scaling/cpu-worker.yaml", [0, 0, 1]), ("gpu/gpu-worker-scaling.yaml", [0, 1, 2])],
    ids=["cpu-worker", "gpu-worker"],
)
def test_a_worker_is_wanted_for_each_run(database_url, file, expected):
    counted = []
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        for catalog, state in (("a", "succeeded"), ("b", "queued"), ("c", "running")):
            connection.execute(RUN, [catalog, state])
            counted.append(connection.execute(query_of(file)).fetchone()[0])
    assert counted == expected
