"""Writes the file tree at the end of README.md: `make docs`.

A line a file: its path, and what its docstring says first. Folders and files that cannot say it themselves are described here.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
HEADING = "## Files\n"
MAX_WORDS = 100
"""Longest description, in characters."""

TOP = (
    "Makefile",
    "pyproject.toml",
    "requirements.lock",
    "protos/",
    "services/",
    "gateway/",
    "timbre/",
    "tests/",
    "benchmarks/",
    "docs/",
)
"""What the tree begins with; the rest follows by name."""

_FOLDERS_ALONE = r"tests/[^/]+/|gateway/webui/src/[^/]+/|gateway/swagger/|docs/images/"
"""Files of which only the folder they lie in is named."""

DESCRIBED = {
    ".ci/run": "what continuous integration runs: `make lint` and `make test`, with a browser",
    ".gitignore": "what is made and not kept",
    "Makefile": "everything a person types",
    "README.md": "this page",
    ".dockerignore": "what images are made of",
    "deploy/": "containers: images, one machine, Kubernetes",
    "deploy/compose.yaml": "one machine with MinIO and PostgreSQL",
    "deploy/docker/": "an image a service, and one for Ray's nodes",
    "deploy/k8s/": "a base with a file a service, overlays, monitoring",
    "deploy/k8s/checkov.lock": "the versions of the policy lint",
    "deploy/k8s/checkov.yaml": "what the policy lint leaves out, and why",
    "benchmarks/": "one script a question; each prints a ratio against its peer",
    "docs/architecture.md": "how it is built, and how to add to it",
    "docs/images/": "pictures of the web page",
    "docs/programs.md": "from programs: the command line, Python, OpenAI's speech API, gRPC",
    "docs/operations.md": "every setting; from nothing to a running cluster; what to do when something fails",
    "gateway/": "the HTTP API, over gRPC",
    "gateway/routes/": "one file a resource",
    "gateway/schemas/": "the JSON that goes in and out",
    "gateway/swagger/": "the API's page, `/docs`",
    "gateway/translate/": "between the protos and that JSON",
    "gateway/webui/": "the web page: TypeScript, React, built by Vite into `dist/`",
    "gateway/webui/.npmrc": "how npm fetches its packages",
    "gateway/webui/biome.json": "the rules of its lint",
    "gateway/webui/index.html": "what a browser loads first",
    "gateway/webui/package-lock.json": "the exact version of every package",
    "gateway/webui/package.json": "the packages it is made of",
    "gateway/webui/tsconfig.json": "the rules of its types",
    "gateway/webui/vite.config.ts": "how it is built",
    "gateway/webui/src/": "what it is made of",
    "gateway/webui/src/app.tsx": "its frame and addresses",
    "gateway/webui/src/main.tsx": "where it begins",
    "gateway/webui/src/names.ts": "names in the store, as people read them",
    "gateway/webui/src/api/": "what the gateway says: types made from its OpenAPI document, calls, events",
    "gateway/webui/src/audio/": "playing, waveforms, speech that sounds while it is made",
    "gateway/webui/src/i18n/": "everything it says, in English and Portuguese",
    "gateway/webui/src/pages/": "a file a page, a folder for its parts",
    "gateway/webui/src/plots/": "curves and distributions",
    "gateway/webui/src/styles/": "colours, type, the frame, controls",
    "gateway/webui/src/ui/": "what pages are built from",
    "protos/": "the contract between the services",
    "protos/.npmrc": "how npm fetches buf",
    "protos/buf.yaml": "the rules of buf's lint",
    "protos/package.json": "the version of buf",
    "pyproject.toml": "dependencies; settings of ruff, mypy and pytest",
    "requirements.lock": "the exact version of every package",
    "services/": "the three services",
    "services/dataset/": "recordings in, segments with transcripts out",
    "services/dataset/normalise/": "text as it is spoken",
    "services/dataset/pipeline/": "the jobs, each read top to bottom",
    "services/inference/": "checkpoints in, speech and scores out",
    "services/inference/engine/": "what turns text into sound",
    "services/runtime/": "what every process boots on",
    "services/runtime/jobs/": "durable jobs",
    "services/runtime/migrations/": "the database's schema, step by step",
    "services/runtime/migrations/script.py.mako": "what a new migration starts from",
    "services/trainer/": "fine-tuning",
    "services/voices/": "the voices made: checkpoints, which is the current one, what was said",
    "services/xtts/": "the model, shared by trainer and inference",
    "tests/": "mirrors the folders above",
    "tests/e2e/": "real processes, through the gateway",
    "timbre/": "what people type and import",
    "timbre/demo/": "the demonstration, and speech for the tests",
}


def tree() -> str:
    """Returns the tree of all files that git has or would have; of the tests, their folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = sorted({line for line in listed.stdout.splitlines() if (ROOT / line).is_file() and keep(line)})
    rows = [(path.rstrip("/").count("/"), path) for path in in_order(files)]
    names = [f"{'  ' * depth}{name_of(path)}" for depth, path in rows]
    width = max(map(len, names)) + 2
    return "\n".join(f"{name:<{width}}{describe(path)}".rstrip() for name, (_, path) in zip(names, rows, strict=True))


def keep(path: str) -> bool:
    """Whether a file gets a line: not what only marks or configures a folder, and not each file of the tests."""
    listed = not path.endswith(("__init__.py", ".gitignore", "py.typed"))
    return listed and not re.match(r"tests/[^/]+/.*/|gateway/webui/src/[^/]+/.*/", path)


def in_order(files: list[str]) -> list[str]:
    """Returns the files with the folders they lie in before them: folders first, then by name; `TOP` before all."""
    paths = {f"{parent}/" for file in files for parent in Path(file).parents if parent != Path()}
    paths |= {file for file in files if not re.match(_FOLDERS_ALONE, file)}

    def key(path: str) -> tuple[tuple[int, str], ...]:
        first, *rest = re.findall(r"[^/]+/?", path)
        return ((TOP.index(first) if first in TOP else len(TOP), first), *((not part.endswith("/"), part) for part in rest))

    return sorted(paths, key=key)


def name_of(path: str) -> str:
    """Returns the last part of a path; a folder's ends in a slash."""
    return str(re.findall(r"[^/]+/?", path)[-1])


def describe(path: str) -> str:
    """Returns what a file is for, without a full stop: the first sentence of its docstring, cut short where it lists things."""
    if path in DESCRIBED:
        return DESCRIBED[path]
    if path.endswith(".py"):
        text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    elif path.endswith(".proto"):
        before = (ROOT / path).read_text(encoding="utf-8").partition("\nservice ")[0]
        text = "\n".join(line[3:] for line in before.splitlines() if line.startswith("// "))
    else:
        return ""
    sentence = re.split(r"(?<![(\"][A-Z])\.(?:\s|$)", text.partition("\n\n")[0].replace("\n", " "))[0].strip()
    if len(sentence) > MAX_WORDS:
        sentence = sentence.partition(": ")[0]
    while len(sentence) > MAX_WORDS and ", " in sentence:
        sentence = sentence.rpartition(", ")[0]
    return sentence


def main() -> None:
    """Replaces what stands under the last heading of the README."""
    before, _, _ = README.read_text(encoding="utf-8").partition(HEADING)
    README.write_text(f"{before}{HEADING}\n```\n{tree()}\n```\n", encoding="utf-8")


if __name__ == "__main__":
    main()
