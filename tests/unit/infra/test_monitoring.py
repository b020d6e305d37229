"""What Prometheus asks and Grafana draws is what the code measures, all of it."""

import ast
import json
import re
from functools import cache

import pytest
import yaml

from infra.local.compose_file import resolved
from infra.local.state import CHECKOUT
from shared.http import health_routes

SUFFIXES = {
    "Counter": {"_total"},
    "Gauge": {""},
    "Histogram": {"_bucket", "_sum", "_count"},
}
PROMETHEUS = yaml.safe_load((CHECKOUT / "infra/prometheus/prometheus.yml").read_text())
DASHBOARD = json.loads((CHECKOUT / "infra/grafana/dashboards/mmesid.json").read_text())


@cache
def measured() -> dict[str, tuple[set[str], set[str]]]:
    """Every metric that the code defines: its series and its labels."""
    found = {}
    for folder in ("services", "shared"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Name(id="Counter" | "Gauge" | "Histogram" as kind),
                        args=[ast.Constant(value=str(name)), ast.Constant(), *rest],
                    ):
                        labels = set(ast.literal_eval(rest[0])) if rest else set()
                        base = name.removesuffix("_total")
                        found[base] = ({base + suffix for suffix in SUFFIXES[kind]}, labels)
    return found


def drawn() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_what_is_drawn_is_measured():
    series = set().union(*(of_metric for of_metric, _ in measured().values()))
    assert set(re.findall(r"\bmmesid_\w+", " ".join(drawn()))) <= series


def test_what_is_measured_is_drawn():
    text = " ".join(drawn())
    missing = [
        name for name, (series, _) in measured().items() if not any(s in text for s in series)
    ]
    assert len(measured()) >= 15
    assert missing == []


def test_what_is_drawn_apart_has_such_labels():
    for expression in drawn():
        names = re.findall(r"\bmmesid_\w+", expression)
        labels = {"le"}.union(
            *(
                of_metric
                for series, of_metric in measured().values()
                for name in names
                if name in series
            )
        )
        for group in re.findall(r"by \(([^)]*)\)", expression):
            assert set(group.split(", ")) <= labels, expression


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_service_that_has_metrics_is_asked(profile):
    compose = resolved(profile)
    (job,) = PROMETHEUS["scrape_configs"]
    (discovered,) = job["dns_sd_configs"]
    with_health = {
        name.removesuffix("-gpu")
        for name, service in compose.services.items()
        if service.is_ours and service.healthcheck.test and not service.healthcheck.disable
    }
    assert set(discovered["names"]) == with_health
    ports = {service.environment["MMESID_SERVER__PORT"]
             for service in compose.services.values() if service.is_ours}  # fmt: skip
    assert {str(discovered["port"])} == ports

    async def ready() -> dict:
        return {}

    assert job["metrics_path"] in {route.path for route in health_routes(ready).routes}


def test_the_dashboard_and_its_source_are_where_grafana_looks():
    compose = resolved("cpu")
    (source,) = yaml.safe_load((CHECKOUT / "infra/grafana/datasources.yml").read_text())[
        "datasources"
    ]
    assert source["url"].startswith("http://prometheus:")
    used = {target["datasource"]["uid"] for target in DASHBOARD["panels"]}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((CHECKOUT / "infra/grafana/dashboards.yml").read_text())[
        "providers"
    ]
    mounted = {volume.target for volume in compose.services["grafana"].volumes}
    assert provider["options"]["path"] in mounted
