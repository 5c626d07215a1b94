"""Settings of every Python test. Property tests have no deadline: a busy machine is no failure."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("waypost", deadline=None)
settings.load_profile("waypost")


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test configures (a command that runs in process does) ends with the test."""
    handlers = logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
