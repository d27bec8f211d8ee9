"""The private hosts of the engine's tests serve here too."""

from tests.engine.conftest import clean, cli, daemon, host, outside, pytest_runtest_makereport

__all__ = ["clean", "cli", "daemon", "host", "outside", "pytest_runtest_makereport"]
