"""Weights: where they are looked for, what is refused, and what is said about it."""

import hashlib
import importlib.util
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgesr.errors import WeightsError
from edgesr.models import files, listing
from edgesr.models.files import cache_folder, locate, where
from edgesr.models.registry import SPECS, ModelSpec, find
from edgesr.models.weights import load, read_state

NAME = "plainusr-u"
CONTENT = b"what the authors published"


def untrained(name: str = NAME, scale: int = 4, form: str = "train") -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {key: tensor.clone() for key, tensor in find(name, scale).forms()[form].state_dict().items()}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def said_of(path: Path, name: str = NAME, scale: int = 4) -> str:
    """The message with which `path` is refused as weights; it always names the file."""
    with pytest.raises(WeightsError) as refused:
        load(name, scale, path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.fixture
def published() -> ModelSpec:
    """A network of the kit whose official file is CONTENT; nobody serves it."""
    spec = find(NAME, 4)
    digest = hashlib.sha256(CONTENT).hexdigest()
    return replace(spec, weights=replace(spec.weights, file="small.pth", sha256=digest, address="http://127.0.0.1:9/x"))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of assets in which weights of plainusr-u x4 are shipped; returns the file."""
    folder = tmp_path / "assets"
    folder.mkdir()
    save_file(untrained(), folder / f"{NAME}_x4.safetensors")
    (folder / f"{NAME}_x4.json").write_text(json.dumps({"psnr_db": {"Set5": 30.5}}))
    (folder / "__init__.py").touch()
    package = importlib.util.spec_from_file_location("edgesr.assets", folder / "__init__.py")
    assert package is not None
    monkeypatch.setitem(sys.modules, "edgesr.assets", importlib.util.module_from_spec(package))
    return folder / f"{NAME}_x4.safetensors"


def put(folder: Path, name: str = "small.pth", content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


# --------------------------------------------------------------------------------------------------- where they are


def test_a_file_given_by_name_comes_first(
    published: ModelSpec, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "dir")
    put(cache_folder())
    monkeypatch.setenv("EDGESR_WEIGHTS_DIR", str(tmp_path / "dir"))
    mine = put(tmp_path, "mine.pth", b"mine")
    assert locate(published, mine) == (mine, "user")


def test_the_folder_of_the_environment_comes_before_the_cache(
    published: ModelSpec, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = put(tmp_path / "dir")
    put(cache_folder())
    monkeypatch.setenv("EDGESR_WEIGHTS_DIR", str(tmp_path / "dir"))
    assert locate(published, None) == (there, "official")
    assert str(there) in where(published)


def test_a_subfolder_of_that_folder_is_searched_too_but_no_deeper(
    published: ModelSpec, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESR_WEIGHTS_DIR", str(tmp_path / "dir"))
    put(tmp_path / "dir" / "PlainUSR" / "deep")
    assert locate(published, None)[1] == "edgesr-trained"
    there = put(tmp_path / "dir" / "PlainUSR")
    assert locate(published, None) == (there, "official")


def test_the_cache_comes_before_what_is_shipped(published: ModelSpec, shipped: Path) -> None:
    there = put(cache_folder())
    assert locate(published, None) == (there, "official")
    assert str(there) in where(published)


def test_what_is_shipped_comes_before_a_download(published: ModelSpec, shipped: Path) -> None:
    assert locate(published, None) == (shipped, "edgesr-trained")
    assert "shipped" in where(published)


def test_where_touches_no_network(published: ModelSpec) -> None:
    spec = replace(published, name="not-shipped")
    assert where(spec) == f"official, download from {spec.weights.source}"


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_an_environment_variable_that_names_no_folder_is_an_error(
    published: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place = tmp_path / kind
    if kind == "file":
        place.touch()
    monkeypatch.setenv("EDGESR_WEIGHTS_DIR", str(place))
    with pytest.raises(WeightsError, match=r"EDGESR_WEIGHTS_DIR is .* not a folder"):
        locate(published, None)


def test_another_version_of_an_official_file_is_refused_with_both_hashes(
    published: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = put(tmp_path / "dir", content=CONTENT + b"!")
    monkeypatch.setenv("EDGESR_WEIGHTS_DIR", str(tmp_path / "dir"))
    with pytest.raises(WeightsError) as refused:
        locate(published, None)
    for part in (
        str(there),
        published.weights.sha256,
        hashlib.sha256(CONTENT + b"!").hexdigest(),
        published.weights.source,
    ):
        assert part in str(refused.value)


def test_every_row_of_the_list_says_where_weights_would_come_from(shipped: Path) -> None:
    rows = {(row["model"], row["scale"]): row for row in listing.rows()}
    assert rows.keys() == {(spec.name, spec.scale) for spec in SPECS}
    assert rows[NAME, 4]["weights"] == "edgesr-trained, shipped with the package"
    assert rows[NAME, 4]["edgesr_trained_psnr_db"] == {"Set5": 30.5}
    assert rows[NAME, 2]["weights"].startswith("official, download from github.com/")


# ------------------------------------------------------------------------------------------------------- provenance


def test_a_file_of_the_user_is_called_so(tmp_path: Path) -> None:
    file = saved(untrained(), tmp_path / "mine.pth")
    provenance = load(NAME, 4, file).provenance
    assert (provenance.kind, provenance.file) == ("user", "mine.pth")
    assert provenance.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_weights_of_this_project_are_called_so_wherever_they_lie(shipped: Path, tmp_path: Path) -> None:
    assert load(NAME, 4).provenance.kind == "edgesr-trained"
    copy = shutil.copy(shipped, tmp_path / "copy.safetensors")
    assert load(NAME, 4, Path(copy)).provenance.kind == "edgesr-trained"


def test_official_weights_are_called_so_wherever_they_lie(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = find(NAME, 4).weights
    assert load(NAME, 4, shared / "weights" / "PlainUSR" / weights.file).provenance.kind == "official"
    monkeypatch.setenv("EDGESR_WEIGHTS_DIR", str(shared / "weights"))
    assert load(NAME, 4).provenance.sha256 == weights.sha256


@pytest.mark.parametrize("form", ["train", "deploy"])
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"params": state, "iter": 7}])
def test_both_forms_are_loaded_bare_or_as_the_authors_wrap_them(
    tmp_path: Path, form: str, wrap: Callable[[object], object]
) -> None:
    state = untrained(form=form)
    loaded = load(NAME, 4, saved(wrap(state), tmp_path / "w.pth"))
    found = loaded.network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    state = untrained()
    other = {name: tensor + 1 for name, tensor in state.items()}
    found = read_state(saved({"params": other, "params_ema": state}, tmp_path / "w.pth"))
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_float_types_become_float32(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    state = {name: tensor.to(dtype) for name, tensor in untrained().items()}
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    found = read_state(path)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(torch.equal(found[name], state[name].float()) for name in state)


# --------------------------------------------------------------------------------------------------------- download


class Server(ThreadingHTTPServer):
    """Answers every request with `answer`; knows how often it was asked."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some of these tests are about."""

    def spec(self, spec: ModelSpec) -> ModelSpec:
        address = f"http://127.0.0.1:{self.server_address[1]}/small.pth"
        return replace(spec, name="not-shipped", weights=replace(spec.weights, address=address))


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sends(body: bytes, length: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def refused_download(spec: ModelSpec) -> str:
    """The message of a failed download: it names the address and the way by hand, and nothing is left behind."""
    with pytest.raises(WeightsError) as refused:
        locate(spec, None, say=lambda text: None)
    message = str(refused.value)
    for part in (str(spec.weights.address), spec.weights.file, spec.weights.source, "EDGESR_WEIGHTS_DIR"):
        assert part in message, message
    assert [path for path in cache_folder().rglob("*") if path.is_file()] == []
    return message


def test_a_download_goes_into_the_cache_and_happens_once(published: ModelSpec) -> None:
    said: list[str] = []
    with serving(sends(CONTENT)) as server:
        spec = server.spec(published)
        for _ in range(2):
            path, kind = locate(spec, None, said.append)
            assert (path.read_bytes(), kind) == (CONTENT, "official")
        assert server.asked == 1
    assert path.parent == cache_folder()
    assert len(said) == 1
    assert "small.pth" in said[0]
    assert "MIT" in said[0]


def test_a_download_with_another_hash_is_refused(published: ModelSpec) -> None:
    with serving(sends(b"something else")) as server:
        assert "hash" in refused_download(server.spec(published))


def test_a_download_that_is_cut_short_is_refused(published: ModelSpec) -> None:
    with serving(sends(CONTENT[:10], length=len(CONTENT))) as server:
        refused_download(server.spec(published))


def test_a_missing_page_is_said(published: ModelSpec) -> None:
    with serving(lambda handler: handler.send_error(404)) as server:
        assert "404" in refused_download(server.spec(published))


def test_a_server_that_stalls_is_given_up(published: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DOWNLOAD_TIMEOUT_S", 0.2)
    over = threading.Event()
    with serving(lambda handler: over.wait(20) and None) as server:
        start = time.monotonic()
        assert "timed out" in refused_download(server.spec(published)).lower()
        assert time.monotonic() - start < 5
        over.set()


def test_a_server_that_stalls_half_way_is_given_up(published: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DOWNLOAD_TIMEOUT_S", 0.2)
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sends(CONTENT[:10], length=len(CONTENT))(handler)
        handler.wfile.flush()
        over.wait(20)

    with serving(answer) as server:
        start = time.monotonic()
        refused_download(server.spec(published))
        assert time.monotonic() - start < 5
        over.set()


def test_a_port_that_nobody_answers_is_said(published: ModelSpec) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/small.pth"
        weights = replace(published.weights, address=address)
        refused_download(replace(published, name="not-shipped", weights=weights))


def test_a_cache_that_cannot_be_written_is_said(
    published: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with serving(sends(CONTENT)) as server:
        refused_download(server.spec(published))


def test_weights_without_an_address_are_to_be_got_by_hand(published: ModelSpec) -> None:
    spec = replace(published, name="not-shipped", weights=replace(published.weights, address=None))
    with pytest.raises(WeightsError, match=r"no direct address.*EDGESR_WEIGHTS_DIR"):
        locate(spec, None)


# -------------------------------------------------------------------------------------------------------- bad files


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert "does not exist" in said_of(tmp_path / "none.pth")
    assert "is a folder" in said_of(tmp_path)


@pytest.mark.skipif(
    not Path("/proc/self/mem").is_file(), reason="needs /proc/self/mem, a file whose start is unreadable"
)
def test_an_unreadable_file_is_said() -> None:
    assert "Cannot read" in said_of(Path("/proc/self/mem"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_empty_file_is_said(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"w{suffix}").touch()
    assert "0 bytes" in said_of(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_said(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(untrained(), path) if suffix == ".pth" else save_file(untrained(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert "not a whole" in said_of(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_bytes_are_refused_or_change_nothing_but_numbers(tmp_path: Path, suffix: str) -> None:
    good, path = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
    torch.save(untrained(), good) if suffix == ".pth" else save_file(untrained(), good)
    content, random = good.read_bytes(), Random(0)
    refused = 0
    for _ in range(60):
        bad = bytearray(content)
        for _ in range(4):
            bad[random.randrange(min(len(bad), 3000))] = random.randrange(256)
        path.write_bytes(bad)
        try:
            read_state(path)  # any other error fails this test
        except WeightsError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_text_file_is_said(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"w{suffix}").write_text("<!DOCTYPE html><title>404</title>" * 100)
    assert "not a whole" in said_of(tmp_path / f"w{suffix}")


def test_an_empty_state_dict_is_said(tmp_path: Path) -> None:
    assert "an empty dict" in said_of(saved({}, tmp_path / "w.pth"))


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], "weights", 3])
def test_what_is_no_state_dict_is_said(tmp_path: Path, content: object) -> None:
    assert type(content).__name__ in said_of(saved(content, tmp_path / "w.pth"))


def test_objects_beside_tensors_are_named(tmp_path: Path) -> None:
    assert "'epoch' is int" in said_of(saved({**untrained(), "epoch": 3}, tmp_path / "w.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float, suffix: str) -> None:
    state = untrained()
    name = sorted(state)[3]
    state[name].view(-1)[-1] = value
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    assert f"NaN or infinity in {name!r} (1 tensors" in said_of(path)


def test_weights_that_overflow_float32_are_refused(tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in untrained().items()}
    next(iter(state.values())).view(-1)[0] = 1e300
    assert "NaN or infinity" in said_of(saved(state, tmp_path / "w.pth"))


def test_weights_with_which_the_network_overflows_are_refused(tmp_path: Path) -> None:
    state = {name: torch.full_like(tensor, 1e30) for name, tensor in untrained(form="deploy").items()}
    assert "NaN or infinity" in said_of(saved(state, tmp_path / "w.pth"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_numbers_that_are_no_weights_are_refused(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    state = {**untrained(), "extra": torch.zeros(3).to(dtype)}
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    said_of(path)


def test_weights_of_another_network_are_recognised(tmp_path: Path) -> None:
    message = said_of(saved(untrained("plainusr-t"), tmp_path / "w.pth"))
    assert "plainusr-u x4" in message
    assert "looks like plainusr-t x4" in message
    assert "looks like bsrn-s x4" in said_of(saved(untrained("bsrn-s"), tmp_path / "w.pth"))


def test_weights_of_another_scale_are_recognised(tmp_path: Path) -> None:
    assert "looks like plainusr-u x2" in said_of(saved(untrained(scale=2), tmp_path / "w.pth"))


def test_weights_of_no_network_are_told_by_the_first_differences(tmp_path: Path) -> None:
    state = untrained()
    lost, widened = sorted(state)[:2]
    del state[lost]
    state[widened] = torch.zeros(3, 5)
    state["surprise"] = torch.zeros(1)
    message = said_of(saved(state, tmp_path / "w.pth"))
    assert "no model of this kit" in message
    for part in (f"{lost}: missing", f"{widened}: (3, 5)", "'surprise': not expected", "(3 differences)"):
        assert part in message
