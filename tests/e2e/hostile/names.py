"""Names that lead elsewhere, in every place for a name that the OpenAPI document has, and in paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from gateway.app import create_app
from gateway.settings import GatewaySettings
from tests.e2e.hostile.target import ADMIN, Row

NAMES = {
    "up": "datasets/../../etc/passwd",
    "up alone": "..",
    "here": "datasets/.",
    "absolute": "/etc/passwd",
    "home": "~/x",
    "drive": "C:\\x",
    "URL": "file:///etc/passwd",
    "backslash": "datasets\\..\\x",
    "encoded": "datasets/%2e%2e/x",
    "encoded slash": "datasets%2f..%2fx",
    "encoded twice": "datasets/%252e%252e/x",
    "NUL": "datasets/a\0",
    "line end": "datasets/a\nb",
    "space": "datasets/a b",
    "empty part": "datasets//a",
    "final slash": "datasets/a/",
    "wide dots": "datasets/．．/x",
    "dots of another script": "datasets/\u2024\u2024/x",
    "wide letters": "datasets/ａ",
    "turned around": "datasets/\u202ea",
    "long": "datasets/" + "a" * 201,
    "many parts": "datasets" + "/a" * 150,
    "shell": "datasets/$(id)",
    "quote": "datasets/'; DROP TABLE jobs; --",
}
"""What no name of ours is like."""

# Parts of paths that are checked as names: what the router hands on of them, because it has no slash, is 422.
_CHECKED = {("/training/dataset/segments/{id}", "PATCH"), ("/training/dataset/recordings/{source}", "DELETE")}

# What is only looked up: there is nothing of such a name.
_LOOKED_UP = {("/training/metrics", "job_id"): 404}

PLACES = re.compile(r"^(folder|dataset_folder|model_name|checkpoint|checkpoint_path|speaker|.*_id|source|segment.*|name)$")
"""Parameters and fields that are names of objects."""


def name_rows() -> Iterator[Row]:
    """Every parameter and field of every route that is a name, as the OpenAPI document has them."""
    app = create_app(GatewaySettings())
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                if PLACES.match(parameter["name"]) or (parameter["in"] == "path"):
                    yield from parameter_rows(method.upper(), path, operation, parameter)
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield from body_rows(document, method.upper(), path, kind, content["schema"])


def parameter_rows(method: str, path: str, operation: Any, parameter: Any) -> Iterator[Row]:
    others = {one["name"]: "x" for one in operation["parameters"] if one.get("required") and one["in"] == "query"}
    for what, name in NAMES.items():
        text = quote(name, safe="")
        if parameter["in"] == "path":
            handed_on = "/" not in name and (path, method) in _CHECKED
            url, status = path.replace(f"{{{parameter['name']}}}", text), 422 if handed_on else 404
        else:
            url, status = (
                f"{path}?"
                + "&".join(
                    f"{key}={text if key == parameter['name'] else one}"
                    for key, one in {**others, parameter["name"]: ""}.items()
                ),
                _LOOKED_UP.get((path, parameter["name"]), 422),
            )
        url = re.sub(r"\{\w+\}", "x", url)
        yield Row(f"{method} {path}, {parameter['name']}: {what}", status, lambda t, m=method, u=url: t.http(m, u, token=ADMIN))


def body_rows(document: Any, method: str, path: str, kind: str, schema: Any) -> Iterator[Row]:
    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    usual = {
        "folder": "datasets/a",
        "dataset_folder": "datasets/a",
        "model_name": "a",
        "checkpoint": "base",
        "text": "a",
        "urls": ["https://youtu.be/a"],
    }
    body = {field: usual[field] for field in schema.get("required", ()) if field in usual}
    for field in schema["properties"]:
        if not PLACES.match(field):
            continue
        for what, name in NAMES.items():
            row = f"{method} {path}, {field}: {what}"
            if kind == "application/json":
                yield Row(row, 422, lambda t, p=path, b={**body, field: name}: t.json("POST", p, b))
            else:
                yield Row(row, 422, lambda t, p=path, b={**body, field: name}: t.form(p, b))


PATHS = {
    "/files/../../etc/passwd": 404,
    "/files/..%2f..%2fetc%2fpasswd": 404,
    "/files/%2e%2e/%2e%2e/etc/passwd": 404,
    "/files/%252e%252e/%252e%252e/etc/passwd": 404,
    "/files/inference/..%5c..%5cetc%5cpasswd": 404,
    "/files/inference/%00": 404,
    "/files/inference/a.wav%00.png": 404,
    "/files//etc/passwd": 404,
    "/files/%2fetc%2fpasswd": 404,
    "/files/inference//a.wav": 404,
    "/files/inference/./a.wav": 404,
    "/files/inference/a.wav/": 404,
    "/files/inference/x/../a.wav": 404,
    "/files/inference/%c0%ae%c0%ae/a.wav": 404,
    "/files/inference/%EF%BC%8E%EF%BC%8E/a.wav": 404,
    "/files/INFERENCE/a.wav": 404,
    "/files/train/output/a.pth": 404,
    "/files/datasets/a/raw/a.wav": 404,
    "/files/timbre.db": 404,
    "/files/inference/" + "a" * 5000: 404,
    "/webui/../app.py": 404,
    "/webui/%2e%2e/app.py": 404,
    "/webui/..%2fapp.py": 404,
    "/docs/..%2f..%2fapp.py": 404,
    "http://elsewhere/files/../etc/passwd": 404,
    "/training/status/../../etc/passwd": 404,
    "//training/status": 404,
    "/training/status%00": 404,
    "/" + "a" * 70_000: 400,
}


def path_rows() -> Iterator[Row]:
    for path, status in PATHS.items():
        yield Row(f"GET {path[:60]}", status, lambda t, p=path: t.http("GET", p, token=ADMIN))
        if path.startswith("/files/"):
            yield Row(f"GET {path[:60]} without a token", 401, lambda t, p=path: t.http("GET", p))


def rows() -> Iterator[Row]:
    """Every row of this module."""
    yield from name_rows()
    yield from path_rows()
