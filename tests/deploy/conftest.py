from __future__ import annotations

import shutil

import pytest

from tests.deploy.rendered import OVERLAYS, Object, render


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    """The rendered objects of each overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH: overlays cannot be rendered")
    return render(request.param)


@pytest.fixture
def gpu() -> tuple[Object, ...]:
    """The rendered objects of the overlay `gpu`."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH: overlays cannot be rendered")
    return render("gpu")
