"""Parts that run on gevent's hub, in a test that is not patched."""

from __future__ import annotations

import gevent.socket
import pytest


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections opened from now on let greenlets run while they wait, as in a patched server."""
    monkeypatch.setattr("redis.connection.socket", gevent.socket)
