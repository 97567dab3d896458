"""A page on which a photo is uploaded and comes back larger: WSGI, served by waitress.

Listens on this board alone unless told otherwise; has no accounts, so in an open network put a proxy with a password
before it, which leaves the Host header as it is and whose name is given with --allow. Every photo then comes from the
proxy's address: limiting each client is up to the proxy. Photos are held in a temporary folder while they are worked
on, and nowhere else.
"""

import json
import socket
import tempfile
import threading
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, quote

from edgesr.board.chosen import Chosen, artifacts, choose
from edgesr.board.console import Console
from edgesr.board.limits import Rate, Turn, is_known_host
from edgesr.errors import EdgesrError, ImageError, MissingExtra, Unsupported, UsageError
from edgesr.listener import Silent
from edgesr.runner import Runner, open_artifact
from edgesr.upscale import Options, Upscaled, upscale_file

WAITING = 4
THREADS = WAITING + 4
"""So that the page answers while photos stand in line."""
SILENT_S = 30
CONNECTIONS = 50
HEADER_BYTES = 16 << 10
CHUNK_BYTES = 1 << 20
MOST_FIELDS = 8
BYTES_PER_MB = 1_000_000
PAGES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "/": ("page.html", "text/html; charset=utf-8"),
        "/page.js": ("page.js", "text/javascript; charset=utf-8"),
        "/page.css": ("page.css", "text/css; charset=utf-8"),
    }
)
FORMATS: Mapping[str, str] = MappingProxyType({"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"})
SAFE = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob:; connect-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """`names`: host names it may be asked by, besides addresses and localhost."""

    max_upload_mb: int
    max_mpx: float
    per_minute: int
    memory_mb: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """Becomes an answer with `status` and the sentence."""

    def __init__(self, status: HTTPStatus, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status, self.headers = status, headers


class Service:
    """The WSGI application. `found`: the artifacts that may be asked for; `first`: the one without a wish."""

    def __init__(self, found: list[Chosen], first: Chosen, limits: Limits, threads: int | None) -> None:
        self.found, self.first, self.limits, self.threads = found, first, limits, threads
        self.rate, self.turn = Rate(limits.per_minute), Turn(WAITING)
        self._open: tuple[str, Runner] | None = None
        self._opening = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = self.answer(environ)
        except Refused as error:
            answer = _json(error.status, {"error": str(error)}, *error.headers)
        except MemoryError:
            text = "The board has too little memory for this photo. Send a smaller one."
            answer = _json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": text})
        except (EdgesrError, OSError) as error:  # a damaged artifact, a full disk: their words name places on the board
            Console().say(f"Error: {error}")
            text = "The board cannot do this now; its log says why. Try another model, or again later."
            answer = _json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": text})
        length = ("Content-Length", str(len(answer.body)))
        status = f"{answer.status.value} {answer.status.phrase}"
        start_response(status, [("Content-Type", answer.kind), length, *SAFE, *answer.headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def answer(self, environ: Environ) -> Answer:
        """Raises Refused, EdgesrError, OSError and MemoryError."""
        if not is_known_host(environ.get("HTTP_HOST", ""), self.limits.names):
            raise Refused(HTTPStatus.FORBIDDEN, "This name is not known here. Start with --allow NAME.")
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        if path == "/upscale":
            if method != "POST":
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Send the photo with POST.", ("Allow", "POST"))
            return self.upscaled(environ)
        if method not in ("GET", "HEAD"):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET here.", ("Allow", "GET, HEAD"))
        if path == "/about":
            return _json(HTTPStatus.OK, self.about())
        if path not in PAGES:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here. The page is at /")
        name, kind = PAGES[path]
        return Answer(HTTPStatus.OK, kind, resources.files("edgesr.apps").joinpath("board", name).read_bytes())

    def about(self) -> dict[str, Any]:
        names = [one.manifest.slug for one in self.found]
        return {
            "models": names,
            "first": self.first.manifest.slug,
            "scales": {one.manifest.slug: one.manifest.scale for one in self.found},
            "max_upload_mb": self.limits.max_upload_mb,
            "max_mpx": self.limits.max_mpx,
        }

    def upscaled(self, environ: Environ) -> Answer:
        """Raises Refused, EdgesrError, OSError and MemoryError."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.partition("://")[2] != environ.get("HTTP_HOST"):
            raise Refused(HTTPStatus.FORBIDDEN, "Another site's page may not send photos here.")
        one, suffix = self._asked(environ)
        wait_s = self.rate.wait_s(environ.get("REMOTE_ADDR", ""))
        if wait_s > 0:
            again = ("Retry-After", str(int(wait_s) + 1))
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, f"Too many photos. Try again in {wait_s:.0f} s.", again)
        with tempfile.TemporaryDirectory(prefix="edgesr-") as name, self.turn.take() as mine:
            if not mine:
                text = "Too many photos stand in line. Try again in a minute."
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text, ("Retry-After", "60"))
            photo, larger = Path(name, "photo"), Path(name, f"larger.{suffix}")
            _receive(environ, photo)
            done, facts = self._upscale(one, photo, larger)
            headers = (
                ("Content-Disposition", f'attachment; filename="photo_x{one.manifest.scale}.{suffix}"'),
                ("X-Edgesr-Artifact", one.manifest.slug),
                ("X-Edgesr-Runtime", quote(facts["runtime"], safe=" .")),
                ("X-Edgesr-Seconds", f"{done.seconds:.3f}"),
                ("X-Edgesr-Tiles", str(done.tiles)),
            )
            return Answer(HTTPStatus.OK, FORMATS[suffix], larger.read_bytes(), headers)

    def _asked(self, environ: Environ) -> tuple[Chosen, str]:
        try:
            asked = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=MOST_FIELDS)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "Only model and format may be given.") from error
        model, suffix = asked.get("model", [None])[0], asked.get("format", ["png"])[0]
        if suffix not in FORMATS:
            raise Refused(HTTPStatus.BAD_REQUEST, f"format must be one of {', '.join(FORMATS)}.")
        try:
            return (self.first if model is None else choose(self.found, model)), suffix
        except EdgesrError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _upscale(self, one: Chosen, photo: Path, larger: Path) -> tuple[Upscaled, dict[str, str]]:
        options = Options(memory_mb=self.limits.memory_mb, max_mpx=self.limits.max_mpx)
        runner = self.runner(one)
        try:
            done = upscale_file(photo, larger, runner, one.manifest, options, Silent())
        except (ImageError, Unsupported) as error:
            text = str(error).replace(str(photo), "the photo").replace(str(larger), "the result")
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, text) from error
        return done, runner.describe()

    def runner(self, one: Chosen) -> Runner:
        """The last that was used stays open."""
        with self._opening:
            if self._open is None or self._open[0] != one.manifest.slug:
                self._open = None
                self._open = one.manifest.slug, open_artifact(one.folder, threads=self.threads)
            return self._open[1]


def serve(asked: Namespace) -> int:
    """Until it is ended. Raises EdgesrError: damaged artifact, port in use."""
    waitress = _waitress(asked.max_upload_mb)
    found = artifacts(asked.bundle)
    names = (*asked.allow, asked.host, socket.gethostname(), f"{socket.gethostname()}.local")
    limits = Limits(asked.max_upload_mb, asked.max_mpx, asked.per_minute, asked.memory, names)
    service = Service(found, choose(found, asked.model), limits, asked.threads)
    service.runner(service.first)
    try:
        server = waitress.create_server(
            service,
            host=asked.host,
            port=asked.port,
            threads=THREADS,
            ident=None,
            connection_limit=CONNECTIONS,
            channel_timeout=SILENT_S,
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=asked.max_upload_mb * BYTES_PER_MB + 1,  # the least that it refuses
        )
    except OSError as error:
        raise UsageError(f"Cannot listen on {asked.host}:{asked.port}: {error.strerror or error}.") from error
    Console().say(
        f"Listening on http://{_shown(asked.host)}:{server.effective_port}/ with {service.first.manifest.slug}."
    )
    server.run()
    return 0


def _waitress(max_upload_mb: int) -> Any:
    """The server; what it refuses before the application sees it, it says in JSON as the application does."""
    try:
        import waitress
        from waitress import channel, task
    except ModuleNotFoundError as error:
        raise MissingExtra("waitress", "board") from error

    class Told(task.ErrorTask):  # type: ignore[misc]  # waitress has no types
        def execute(self) -> None:
            self.request.error = _Error(self.request.error, max_upload_mb)
            super().execute()

    channel.HTTPChannel.error_task_class = Told
    return waitress


@dataclass(frozen=True, slots=True)
class _Error:
    """`found`: an error of waitress 3, which is asked for its answer with this method."""

    found: Any
    max_upload_mb: int

    def to_response(self, ident: str | None) -> tuple[str, list[tuple[str, str]], bytes]:
        text = f"{self.found.reason}: {self.found.body}."
        if self.found.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            text = f"A photo may have {self.max_upload_mb} MB at most. Send a smaller one."
        answer = _json(HTTPStatus(self.found.code), {"error": text})
        return f"{self.found.code} {self.found.reason}", [("Content-Type", answer.kind), *SAFE], answer.body


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _receive(environ: Environ, file: Path) -> None:
    """Raises Refused, OSError. waitress has counted the bytes by then, those of a chunked body too."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdigit() or int(length) == 0:
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "Send the photo's bytes as the body.")
    left = int(length)
    with file.open("wb") as stream:
        while left > 0:
            part = environ["wsgi.input"].read(min(CHUNK_BYTES, left))
            if not part:
                raise Refused(HTTPStatus.BAD_REQUEST, "The photo did not arrive whole.")
            stream.write(part)
            left -= len(part)


def _json(status: HTTPStatus, value: Mapping[str, Any], *headers: tuple[str, str]) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode(), headers)
