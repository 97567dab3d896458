"""A real Chromium, and a server of static files on 127.0.0.1, with or without the headers of cross-origin isolation."""

import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

FLAGS = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


def program(*names: str) -> str:
    """The first of `names` that is installed. Without any the test is skipped; on CI it fails."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is not None:
        return found
    message = f"{' or '.join(names)} is not installed: apt-get install {names[0]}"
    if "EDGESR_REQUIRE_TARGETS" in os.environ:
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def driver() -> Iterator[Any]:
    """Playwright; a process can have one at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@contextmanager
def chromium(playwright: Any, *flags: str) -> Iterator[Any]:
    """A headless browser, the one that is installed."""
    path = program("chromium", "chromium-browser", "google-chrome")
    # A sandbox cannot be made by root, or in most containers.
    browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags, "--no-sandbox"])
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def served(folder: Path, *, isolated: bool = True) -> Iterator[str]:
    """The address of `folder` on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map: ClassVar[dict[str, str]] = {
            **http.server.SimpleHTTPRequestHandler.extensions_map,
            ".mjs": "text/javascript",
            ".wasm": "application/wasm",
        }

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def end_headers(self) -> None:
            for name, value in ISOLATION.items() if isolated else ():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
