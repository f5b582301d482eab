"""Hypothesis profiles, and where the shared market data is."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine and day: a failure is then of the change that is tested. `make
# soak` draws others, and prints the blob that replays a failure. Machines that run several suites at
# once are slow now and then: neither a deadline nor the time that data takes to make says anything
# about the code.
settings.register_profile(
    "test",
    max_examples=30,
    derandomize=True,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# What is started in the background ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Calendars are computed once a run, and nothing of an earlier run is found. Workers inherit it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="openbell-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
settings.register_profile("soak", settings.get_profile("test"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real market data, beside the repository; skips where it is absent."""
    folder = (Path(__file__).parents[1] / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; it holds real market data to compare with")
    return folder
