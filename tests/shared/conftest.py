"""Of the journal's tests: a chip of 64 sectors, and a journal on it."""

import pytest
from pim_flash import Flash


@pytest.fixture
def flash():
    return Flash(64)


@pytest.fixture
def j(flash):
    return flash.mount()
