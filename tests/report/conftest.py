"""Reports of these tests draw no pictures, which take seconds, but for tests marked `pictures`."""

import pytest

from attnbench.report import files


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.keywords:
        monkeypatch.setattr(files, "PICTURES", {})
