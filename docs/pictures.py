"""Makes the pictures of the README, docs/images/, from what the browser tests left in artifacts/webui/."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "artifacts" / "webui"
PICTURES = {"voices": "voices", "review": "review", "train": "dark-portuguese-train", "ab": "ab"}
"""Name of a picture: the shot it is made from."""


def main() -> None:
    """Writes them, compressed."""
    for name, shot in PICTURES.items():
        with Image.open(SHOTS / f"{shot}.png") as picture:
            picture.save(ROOT / "docs" / "images" / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
