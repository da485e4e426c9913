"""Writes the types of the web page, gateway/webui/src/api/schema.d.ts, from the OpenAPI document: `make types`.

With `--check` it writes nothing and fails when the file is stale. Both need the packages of the page (npm), and no service.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "gateway" / "webui"
TYPES = PAGE / "src" / "api" / "schema.d.ts"


def generate() -> str:
    """Returns the types of what the gateway of this working tree documents."""
    from gateway.app import create_app
    from gateway.settings import GatewaySettings

    document = create_app(GatewaySettings(auth="off")).openapi()
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "openapi.json", Path(folder) / "schema.d.ts"
        source.write_text(json.dumps(document), encoding="utf-8")
        command = [PAGE / "node_modules" / ".bin" / "openapi-typescript", source, "--output", made, "--root-types"]
        subprocess.run([*command, "--root-types-no-schema-prefix"], check=True, capture_output=True)
        return made.read_text(encoding="utf-8")


def main() -> None:
    """Writes the file, or checks it."""
    types = generate()
    if "--check" not in sys.argv:
        TYPES.write_text(types, encoding="utf-8")
    elif not TYPES.exists() or TYPES.read_text(encoding="utf-8") != types:
        sys.exit("gateway/webui/src/api/schema.d.ts does not fit the OpenAPI document: run make types.")


if __name__ == "__main__":
    main()
