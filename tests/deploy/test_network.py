"""The network policies, evaluated: what may reach what is what the programs dial, and nothing else."""

from __future__ import annotations

from itertools import product

from tests.deploy.rendered import SERVICES, Object, environment, of_kind, pods

OUTSIDE = {"kubernetes.io/metadata.name": "somewhere else"}
INGRESS = {"kubernetes.io/metadata.name": "ingress-nginx"}
PROMETHEUS = {"kubernetes.io/metadata.name": "monitoring"}
RAY = ("ray-head", "ray-worker")
PORTS = (443, 5432, 6379, 6443, 8000, 8265, 9000, 9464, 50051, 50052, 50053, 33333)
"""Every port that something listens on, and one that nothing does."""


def matches(selector: Object, labels: dict[str, str]) -> bool:
    wanted = [({value}, key) for key, value in selector.get("matchLabels", {}).items()]
    for row in selector.get("matchExpressions", []):
        assert row["operator"] == "In"
        wanted.append((set(row["values"]), row["key"]))
    return all(labels.get(key) in values for values, key in wanted)


def admits(rule: Object, side: str, peer: dict[str, str], port: int) -> bool:
    """Whether a rule covers a peer, known by its own labels or, outside the namespace, by its namespace's."""
    if "ports" in rule and port not in {row["port"] for row in rule["ports"]}:
        return False
    for row in rule.get(side, [{}]):
        kinds = set(row)
        if kinds == {"podSelector"} and "app" in peer and matches(row["podSelector"], peer):
            return True
        if kinds == {"namespaceSelector"} and "app" not in peer and matches(row["namespaceSelector"], peer):
            return True
        if kinds == {"ipBlock"} and side == "to":
            assert row["ipBlock"] == {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}
            return True
    return False


def open_side(policies: list[Object], kind: str, labels: dict[str, str], peer: dict[str, str], port: int) -> bool:
    """Whether one end of a connection allows it: a pod that no policy selects is open."""
    if "app" not in labels:
        return True
    chosen = [row["spec"] for row in policies if matches(row["spec"]["podSelector"], labels)]
    chosen = [spec for spec in chosen if kind in spec["policyTypes"]]
    side = "from" if kind == "Ingress" else "to"
    return not chosen or any(admits(rule, side, peer, port) for spec in chosen for rule in spec.get(kind.lower(), []))


def edges(objects: tuple[Object, ...]) -> set[tuple[str, str, int]]:
    """Returns who may open a connection to whom at which of `PORTS`."""
    policies = list(of_kind(objects, "NetworkPolicy").values())
    ends = {pod["metadata"]["labels"]["app"]: pod["metadata"]["labels"] for pod in pods(objects).values()}
    ends |= {"outside": OUTSIDE, "ingress": INGRESS, "prometheus": PROMETHEUS}
    found = set()
    for (source, one), (target, other), port in product(ends.items(), ends.items(), PORTS):
        within = "app" in one or "app" in other
        allowed = open_side(policies, "Egress", one, other, port) and open_side(policies, "Ingress", other, one, port)
        if within and allowed:
            found.add((source, target, port))
    return found


def test_the_network_is_closed_where_nothing_opens_it(objects: tuple[Object, ...]) -> None:
    closed = of_kind(objects, "NetworkPolicy")["default-deny"]["spec"]
    assert closed["podSelector"] == {}
    assert sorted(closed["policyTypes"]) == ["Egress", "Ingress"]
    assert "ingress" not in closed
    (names,) = closed["egress"]
    assert {(row["protocol"], row["port"]) for row in names["ports"]} == {("UDP", 53), ("TCP", 53)}


def test_the_edges_are_those_that_the_programs_dial(objects: tuple[Object, ...]) -> None:
    apps = {pod["metadata"]["labels"]["app"] for pod in pods(objects).values()}
    services = ("gateway", *SERVICES)
    dialled = {("gateway", name, port) for name, port in SERVICES.items()} | {("ingress", "gateway", 8000)}
    stores = {"s3://timbre?endpoint=http://minio:9000": ("minio", 9000)}
    store = stores.get(environment(objects, "gateway")["TIMBRE_STORAGE_URL"], ("outside", 443))
    database = ("postgres" if "postgres" in apps else "outside", 5432)
    workers = ("ray-worker",) if "ray-worker" in apps else ()
    dialled |= {(name, *store) for name in (*services, *workers)}
    dialled |= {(name, *database) for name in ("dataset", "trainer", *workers)}
    dialled |= {("dataset", "outside", 443)}  # recordings
    if workers:
        dialled |= {(name, "ray-head", 8265) for name in ("dataset", "trainer")}
        dialled |= {(one, other, port) for one, other, port in product(RAY, RAY, PORTS)}
        dialled |= {("ray-head", "outside", port) for port in (443, 6443)}  # the cluster's API
    if "ServiceMonitor" in {found["kind"] for found in objects}:
        dialled |= {("prometheus", name, 9464) for name in services}
    # an address outside may be one in another namespace as well
    found = {edge for edge in edges(objects) if edge[1] not in ("ingress", "prometheus")}
    assert found - dialled == set(), "open, and nothing dials it"
    assert dialled - found == set(), "dialled, and closed"
