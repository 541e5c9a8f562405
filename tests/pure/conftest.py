import pytest

from fake_ha import FakeHomeAssistant
from ha_client.transport import Canceller


@pytest.fixture
def ha():
    with FakeHomeAssistant() as fake:
        yield fake


@pytest.fixture
def canceller():
    canceller = Canceller()
    yield canceller
    canceller.close()
