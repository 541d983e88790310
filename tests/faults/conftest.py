"""The same sessions as the regressions have."""

from tests.regressions.conftest import open_session, session, stored

__all__ = ["open_session", "session", "stored"]
