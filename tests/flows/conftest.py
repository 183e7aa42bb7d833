"""A real Prefect server with a database of its own, shared by the tests of this folder."""

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="package")
def server() -> Iterator[SyncPrefectClient]:
    """A client of the server that flows called in these tests report to."""
    quiet = temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False})
    with quiet, prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as client:
        yield client
