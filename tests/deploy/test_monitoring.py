"""Alerts and the dashboard: expressions that Prometheus can read, about metrics that are told, with a page for each alert."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.runtime.database import open_database
from services.runtime.jobs import JobQueue, JobState
from services.runtime.jobs.figures import _MEMORY, JobFigures
from services.runtime.metrics import _HISTOGRAMS, Metrics
from tests.deploy.images import ROOT
from tests.deploy.rendered import Object, environment, of_kind

PAGE = (ROOT / "docs/operations.md").read_text()


def alerts(objects: tuple[Object, ...]) -> dict[str, Any]:
    (group,) = of_kind(objects, "PrometheusRule")["timbre"]["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def dashboard(objects: tuple[Object, ...]) -> dict[str, Any]:
    found = of_kind(objects, "ConfigMap")["timbre-dashboard"]
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    read: dict[str, Any] = json.loads(found["data"]["timbre.json"])
    return read


def expressions(objects: tuple[Object, ...]) -> dict[str, str]:
    told = {name: rule["expr"] for name, rule in alerts(objects).items()}
    for panel in dashboard(objects)["panels"]:
        told |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return told


def selectors(expression: Any) -> Iterator[Any]:
    """Yields the vector selectors of a parsed expression, however deep."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        inner = getattr(expression, name, None)
        if inner is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from selectors(inner)


@pytest.fixture
def told(tmp_path: Path) -> dict[str, set[str]]:
    """Names of the samples that our processes tell, with their labels: made by the code that makes them."""
    metrics = Metrics("127.0.0.1", 0)
    for name, (_, labels, _) in _HISTOGRAMS.items():
        metrics.observe(name, 1.0, ["x" for _ in labels])
    metrics.close()
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.db'}")
    queue = JobQueue(engine)
    for state in (JobState.FAILED, None):
        queue.submit("trainer.train", "voice", {})
        job = queue.claim(["trainer.train"])
        assert job is not None
        queue.report(job.id, job.lease, {}, points=[(name, 1, 2.5, time.time()) for name in ("loss", *_MEMORY)])
        if state:
            queue.finish(job.id, job.lease, state)
    metrics.registry.register(JobFigures(engine, ("trainer.train",), "trainer.train"))
    text = generate_latest(metrics.registry).decode()
    engine.dispose()
    found = {"up": {"namespace"}, "timbre_synthesis_queue": set(), "timbre_gpu_memory_bytes": {"device"}}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_two_that_need_a_gpu_or_a_model_are_in_the_code() -> None:
    assert '"timbre_synthesis_queue"' in (ROOT / "services/inference/__main__.py").read_text()
    assert '"timbre_gpu_memory_bytes"' in (ROOT / "services/runtime/metrics.py").read_text()


def test_every_metric_that_is_asked_for_is_told(gpu: tuple[Object, ...], told: dict[str, set[str]]) -> None:
    asked = set()
    for title, text in expressions(gpu).items():
        found = list(selectors(promql_parser.parse(text)))
        assert found, title
        for one in found:
            assert one.name in told, f"{title}: {one.name}"
            assert {matcher.name for matcher in one.matchers.matchers} <= told[one.name], title
            asked.add(re.sub("_(bucket|count|sum|total)$", "", one.name))
    documented = {name.removesuffix("_total") for name in re.findall(r"`(timbre_[a-z_]+)`", PAGE)}
    assert asked - {"up"} <= documented
    assert documented - asked == {"timbre_training_seconds"}, "a metric that nobody looks at"


def test_labels_that_are_grouped_by_exist(gpu: tuple[Object, ...], told: dict[str, set[str]]) -> None:
    known = {label for labels in told.values() for label in labels} | {"pod"}
    for title, text in expressions(gpu).items():
        for labels in re.findall(r"by \(([^)]*)\)", text):
            assert {label.strip() for label in labels.split(",")} <= known, title
    for panel in dashboard(gpu)["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= known


def test_every_alert_says_what_to_do(gpu: tuple[Object, ...]) -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (\w.*)$", PAGE, re.M)}
    assert len(alerts(gpu)) >= 8
    for name, rule in alerts(gpu).items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert name.lower() in headings, "no heading of its own in docs/operations.md"
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_panels_have_names_and_places_of_their_own(gpu: tuple[Object, ...]) -> None:
    panels = dashboard(gpu)["panels"]
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_what_is_scraped_is_what_listens(gpu: tuple[Object, ...]) -> None:
    (monitor,) = of_kind(gpu, "ServiceMonitor").values()
    (row,) = monitor["spec"]["endpoints"]
    (apps,) = monitor["spec"]["selector"]["matchExpressions"]
    doors = {door["metadata"]["labels"][apps["key"]]: door for door in of_kind(gpu, "Service").values()}
    assert set(apps["values"]) == {"gateway", "dataset", "trainer", "inference"}
    for name in apps["values"]:
        (port,) = [door["port"] for door in doors[name]["spec"]["ports"] if door["name"] == row["port"]]
        assert environment(gpu, name)["TIMBRE_METRICS_LISTEN"] == f"0.0.0.0:{port}"


def test_inference_is_scaled_by_a_metric_that_its_pods_tell(gpu: tuple[Object, ...], told: dict[str, set[str]]) -> None:
    (metric,) = of_kind(gpu, "HorizontalPodAutoscaler")["inference"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in told
    assert metric["pods"]["metric"]["name"] in PAGE.partition("### Scaling")[2], "the rule of the adapter"
