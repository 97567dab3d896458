"""What every test gets: an environment of its own, and the road to the files that stand beside the project."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with full-size cases first: at the end, one worker would be busy with such a file and others with none."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_works() -> None:
    """A suite that was started in the background inherits an ignored SIGINT; the tests of Ctrl-C need it back."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No weights of this machine, an empty cache, and servers on 127.0.0.1 are reached without a proxy."""
    monkeypatch.delenv("EDGESR_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name in os.environ.keys() & {*PROXIES, *map(str.upper, PROXIES)}:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the repository with official weights, golden vectors and image sets."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} (official weights, golden vectors, image sets) is missing")
    return SHARED
