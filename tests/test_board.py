"""The bundle for a board, really installed and run on this machine; tests/test_emulated_board.py does so on Arm.

Its artifact is one convolution that repeats pixels, so that converting takes no time. pip fetches the packages once.
"""

import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, driver
from PIL import Image
from small_bundles import builder_words

from edgesr.artifact import Manifest, WeightsEntry, file_entries, read_manifest, write_manifest
from edgesr.bench.records import Closed, End, Memory, Opened, Samples, Start, read
from edgesr.board.chosen import Chosen
from edgesr.board.limits import MINUTE_S, MOST_CLIENTS, Rate, Turn, is_known_host
from edgesr.board.service import Limits, Service
from edgesr.bundles import bundle
from edgesr.bundles.options import Options
from edgesr.cli import main
from edgesr.errors import ArtifactError, BundleError, Unsupported, UsageError
from edgesr.runner import Runner
from edgesr.targets.tensorrt import SCRIPT, build_script
from edgesr.types import Precision, Request, TensorSpec

ROOT = Path(__file__).parents[1]
SCALE = 2


def network() -> bytes:
    """ONNX: (1, 3, height, width) to (1, 3, 2*height, 2*width), every pixel four times."""
    onnx = pytest.importorskip("onnx", reason="needs edgesr[export]")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((12, 3, 1, 1), np.float32)
    for channel in range(3):
        weights[4 * channel : 4 * channel + 4, channel] = 1
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["wide"]),
        helper.make_node("DepthToSpace", ["wide"], ["upscaled"], blocksize=SCALE, mode="CRD"),
    ]
    graph = helper.make_graph(
        nodes,
        "repeat",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("upscaled", TensorProto.FLOAT, [1, 3, "out_height", "out_width"])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def artifact(folder: Path, target: str = "onnxruntime", precision: Precision = "fp32") -> Path:
    request = Request("repeat", SCALE, target, precision)
    place = folder / request.slug
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(network())
    if target == "tensorrt":
        (place / SCRIPT).write_text(build_script(request, [], 1))
    manifest = Manifest(
        slug=request.slug,
        request=request,
        scale=SCALE,
        main="model.onnx",
        files=file_entries(place),
        inputs=(TensorSpec("image", (1, 3, "height", "width"), "float32"),),
        outputs=(TensorSpec("upscaled", (1, 3, "2*height", "2*width"), "float32"),),
        min_side_px=1,
        halo_px=1,
        peak_bytes_per_px=200,
        weights=WeightsEntry("user", "w.pth", "1" * 64),
        toolchain={},
    )
    write_manifest(place, manifest)
    return place


def unpacked(out: Path, name: str = "rpi") -> Path:
    with tarfile.open(out / f"edgesr-{name}.tar") as archive:
        archive.extractall(out.parent, filter="data")
    return out.parent / f"edgesr-{name}"


def run(folder: Path, *command: str, python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
    """In `folder`, without anything of this process's Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        list(command), cwd=folder, env={**kept, "PYTHON": python}, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed bundle in a folder with a space in its name."""
    place = tmp_path_factory.mktemp("a board")
    bundle([artifact(place / "artifacts")], "rpi", place / "out")
    folder = unpacked(place / "out")
    done = run(folder, "./install.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "repeat_x2_onnxruntime_fp32_dynamic: onnxruntime" in done.stdout
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "holiday.png"
    Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 50).convert("RGB").save(file)
    return file


def expected(photo: Path) -> np.ndarray:
    return np.asarray(Image.open(photo)).repeat(SCALE, 0).repeat(SCALE, 1)


# ---------------------------------------------------------------------------------------------------- installed


def test_upscale_writes_what_the_network_computes(board: Path, photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, tmp_path / "holiday.png")
    done = run(tmp_path, str(board / "upscale"), "holiday.png", "--tile", "16")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "holiday_x2.png")), expected(photo))


def test_a_broken_photo_is_one_line_and_the_others_are_done(board: Path, photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"no photo")
    done = run(tmp_path, str(board / "upscale"), ".", "-o", "out")
    assert done.returncode == 9
    assert "a.png: it is no image" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_bench_writes_the_records_of_this_kit_without_the_photo_s_name(
    board: Path, photo: Path, tmp_path: Path
) -> None:
    options = ("--profile", "smoke", "--size", "32x48", "--photo", str(photo), "-o", str(tmp_path / "runs"))
    done = run(tmp_path, str(board / "bench"), *options)
    assert done.returncode == 0, done.stderr
    assert re.search(r"repeat_x2_onnxruntime_fp32_dynamic, 32x48: median [\d.]+ ms", done.stdout)
    file = next((tmp_path / "runs").rglob("*.jsonl"))
    records = read(file)
    start = records[0]
    assert isinstance(start, Start)
    assert (start.subject.size, start.where.kind, start.subject.target) == ((32, 48), "device", "onnxruntime")
    assert [type(record) for record in records if not isinstance(record, Samples)] == [
        *(Start, Opened, Closed, Opened, Closed, Memory, End)
    ]
    assert sum(len(record.raw_ns) for record in records if isinstance(record, Samples)) >= 64
    assert "holiday" not in file.read_text()


def test_python_files_beside_the_photos_are_not_run(board: Path, photo: Path, tmp_path: Path) -> None:
    """Nor those in the home folder, where the processes that `bench` starts run."""
    shutil.copy(photo, tmp_path / "holiday.png")
    for name in ("numpy", "PIL", "edgesr", "argparse"):
        (tmp_path / f"{name}.py").write_text("open('taken', 'w')\nraise SystemExit(77)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        for command in (("upscale", "holiday.png"), ("bench", "--profile", "smoke", "--size", "32x48")):
            done = run(tmp_path, str(board / command[0]), *command[1:])
            assert done.returncode == 0, done.stderr
    assert not (tmp_path / "taken").exists()


def test_a_name_that_is_not_in_the_bundle_is_one_line(board: Path, photo: Path) -> None:
    done = run(board, "./upscale", str(photo), "--model", "fp23")
    assert done.returncode == 2
    assert "Did you mean 'fp32'" in done.stderr


def test_a_changed_model_is_refused_by_install_and_by_the_commands(board: Path, photo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(board, copy, symlinks=True)
    model = copy / "models" / "repeat_x2_onnxruntime_fp32_dynamic" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = run(copy, "./install.sh")
    assert (done.returncode, "files of the bundle are missing or were changed" in done.stderr) == (1, True)
    done = run(copy, "./upscale", str(photo), "-o", str(tmp_path / "out.png"))
    assert done.returncode == 8
    assert "model.onnx was changed" in done.stderr
    assert not (tmp_path / "out.png").exists()


# ---------------------------------------------------------------------------------------------------- the service


@contextmanager
def serving(board: Path, *options: str) -> Iterator[int]:
    """The port of a photo service that runs until the block ends."""
    process = subprocess.Popen(
        [str(board / "serve"), "--port", "0", *options], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line + process.stderr.read()
        yield int(found[1])
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body, headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read(), dict(answer.getheaders())


@pytest.fixture(scope="module")
def port(board: Path) -> Iterator[int]:
    with serving(board, "--max-upload-mb", "1", "--per-minute", "1000") as found:
        yield found


def test_a_photo_that_is_sent_comes_back_larger(port: int, photo: Path, tmp_path: Path) -> None:
    status, body, headers = ask(port, "POST", "/upscale?model=fp32&format=png", photo.read_bytes())
    assert (status, headers["Content-Type"]) == (200, "image/png"), body
    assert headers["X-Edgesr-Artifact"] == "repeat_x2_onnxruntime_fp32_dynamic"
    assert headers["X-Edgesr-Runtime"].startswith("onnxruntime ")
    (tmp_path / "back.png").write_bytes(body)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "back.png")), expected(photo))


def test_the_page_and_its_parts_are_served_with_a_policy_that_lets_nothing_else_in(port: int) -> None:
    for path, words in (("/", b"Choose a photo"), ("/page.js", b"fetch"), ("/page.css", b"--accent")):
        status, body, headers = ask(port, "GET", path)
        assert (status, words in body) == (200, True)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    about = json.loads(ask(port, "GET", "/about")[1])
    assert about["models"] == ["repeat_x2_onnxruntime_fp32_dynamic"]
    assert "Server" not in ask(port, "HEAD", "/")[2]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "words"),
    [
        ("POST", "/upscale", b"no photo", {}, 422, "Cannot read the photo: it is no image"),
        ("POST", "/upscale", b"", {}, 411, "Send the photo's bytes"),
        ("POST", "/upscale", None, {"Content-Length": "1000001"}, 413, "A photo may have 1 MB at most"),
        ("POST", "/upscale", None, {"Transfer-Encoding": "zip"}, 501, "Transfer-Encoding"),
        ("GET", "/", None, {"X-Long": "x" * 20_000}, 431, "exceeds max_header"),
        ("POST", "/upscale?" + "&".join(f"a{number}=1" for number in range(9)), b"x", {}, 400, "Only model and format"),
        ("POST", "/upscale?model=none", b"x", {}, 400, "no artifact in this bundle named 'none'"),
        ("POST", "/upscale?format=exe", b"x", {}, 400, "format must be one of"),
        ("POST", "/upscale", b"x", {"Origin": "https://evil.example"}, 403, "Another site's page"),
        ("GET", "/", None, {"Host": "evil.example"}, 403, "name is not known"),
        ("GET", "/upscale", None, {}, 405, "with POST"),
        ("DELETE", "/", None, {}, 405, "Only GET"),
        ("GET", "/../../etc/passwd", None, {}, 404, "nothing here"),
        ("GET", "/%2e%2e/install.sh", None, {}, 404, "nothing here"),
    ],
)
def test_what_it_refuses(
    port: int, photo: Path, method: str, path: str, body: bytes | None, headers: dict, status: int, words: str
) -> None:
    found, said, _ = ask(port, method, path, body, **headers)
    assert found == status, said
    assert words in json.loads(said)["error"]
    assert "/tmp" not in said.decode()
    assert ask(port, "POST", "/upscale", photo.read_bytes())[0] == 200


def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(port: int, tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2000)).save(tmp_path / "bomb.png")
    status, said, _ = ask(port, "POST", "/upscale", (tmp_path / "bomb.png").read_bytes())
    assert status == 422
    assert "megapixels" in said.decode()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    pytest.importorskip("onnxruntime", reason="needs edgesr[onnx]")
    place = artifact(tmp_path / "artifacts")
    one = Chosen(place, read_manifest(place))
    return Service([one], one, Limits(1, 2, 100, 300), 1)


def asked(service: Service, body: bytes, query: str = "") -> tuple[str, str]:
    """Status and error of a photo that is sent without a server between."""
    began: list[str] = []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/upscale", "QUERY_STRING": query, "HTTP_HOST": "localhost"}
    stream = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    said = b"".join(service({**environ, **stream}, lambda status, headers: began.append(status)))
    return began[0], json.loads(said)["error"]


def test_an_artifact_that_does_not_open_is_503_and_where_it_lies_is_in_the_log_alone(
    service: Service, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (service.first.folder / "model.onnx").write_bytes(b"x")
    status, said = asked(service, photo.read_bytes())
    assert (status, said.partition(";")[0]) == ("503 Service Unavailable", "The board cannot do this now")
    assert "/" not in said
    assert "model.onnx was changed" in capsys.readouterr().err


class Failing:
    """A runner that ends as the network of a board may."""

    def __init__(self, runner: Runner, error: BaseException) -> None:
        self.accepts, self.describe, self._error = runner.accepts, runner.describe, error

    def __call__(self, x: np.ndarray) -> np.ndarray:
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "too little memory for this photo. Send a smaller one"),
        (ArtifactError("/opt/models broke"), "its log says why"),
        (OSError(28, "No space left on device", "/tmp/edgesr-x"), "its log says why"),
    ],
)
def test_what_fails_while_computing_is_503_without_a_place(
    service: Service, photo: Path, error: Exception, words: str
) -> None:
    service._open = service.first.manifest.slug, Failing(service.runner(service.first), error)
    status, said = asked(service, photo.read_bytes())
    assert (status, words in said, "/" in said) == ("503 Service Unavailable", True, False), said
    assert "--tile" not in said


def test_a_format_without_transparency_is_refused_before_the_network_runs(service: Service) -> None:
    service._open = service.first.manifest.slug, Failing(service.runner(service.first), AssertionError())
    stream = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(stream, "PNG")
    status, said = asked(service, stream.getvalue(), "format=jpg")
    assert (status, said.partition(":")[0]) == ("422 Unprocessable Entity", "Cannot write the result")


def test_more_than_the_rate_is_told_to_wait(board: Path, photo: Path) -> None:
    with serving(board, "--per-minute", "2") as port:
        answers = [ask(port, "POST", "/upscale", photo.read_bytes()) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert 0 < int(answers[2][2]["Retry-After"]) <= 61


def test_a_port_in_use_is_one_line(board: Path, port: int) -> None:
    done = run(board, "./serve", "--port", str(port))
    assert done.returncode == 2
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.slow
def test_the_page_sends_a_photo_and_shows_what_came_back(port: int, photo: Path, tmp_path: Path) -> None:
    with driver() as playwright, chromium(playwright) as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#model option", state="attached")
        page.set_input_files("#file", photo)
        page.wait_for_selector("#result:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.get_attribute("#save", "download") == "holiday_x2.png"
        page.select_option("#format", "webp")
        page.set_input_files("#file", photo)  # the same one again, in another format
        page.wait_for_selector("#save[download='holiday_x2.webp']", state="attached")
        page.select_option("#format", "png")
        page.set_input_files("#file", photo)
        page.wait_for_selector("#save[download='holiday_x2.png']", state="attached")
        page.focus("#file")
        page.keyboard.press("Shift")  # what comes by the keyboard shows where it is
        assert page.evaluate("getComputedStyle(document.querySelector('.drop')).outlineStyle") == "solid"
        with page.expect_download() as waiting:
            page.click("#save")
        waiting.value.save_as(tmp_path / "back.png")
        (tmp_path / "broken.png").write_bytes(b"no photo")
        assert complaints == []
        page.set_input_files("#file", tmp_path / "broken.png")
        page.wait_for_selector("#status.bad")
        assert "Cannot read the photo: it is no image" in page.inner_text("#status")
        assert page.evaluate("document.querySelector('#file').value") == ""
        page.route("**/about", lambda route: route.fulfill(status=403, json={"error": "This name is not known here."}))
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#status.bad")
        assert page.inner_text("#status") == "This name is not known here."
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "back.png")), expected(photo))


def test_the_rate_forgets_after_a_minute_and_does_not_grow() -> None:
    now = [0.0]
    rate = Rate(2, lambda: now[0])
    assert [rate.wait_s("a") for _ in range(3)] == [0, 0, MINUTE_S]
    assert rate.wait_s("b") == 0
    now[0] = MINUTE_S
    assert rate.wait_s("a") == 0
    for number in range(2 * MOST_CLIENTS):
        rate.wait_s(str(number))
    assert len(rate._taken) == MOST_CLIENTS


def test_one_works_some_wait_and_the_next_is_sent_away() -> None:
    turn, go, order = Turn(1), threading.Event(), []

    def work(name: str) -> None:
        with turn.take() as mine:
            order.append((name, mine))
            go.wait(10)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    work_too_many = threading.Thread(target=work, args=("c",))
    go_later = threading.Timer(0.3, go.set)
    go_later.start()
    work_too_many.start()
    for thread in (*threads, work_too_many, go_later):
        thread.join(10)
    assert order == [("a", True), ("c", False), ("b", True)]


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("192.168.1.7:8000", True),
        ("pi.local:8000", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8000", False),
        ("", False),
    ],
)
def test_hosts_that_are_known(header: str, known: bool) -> None:
    assert is_known_host(header, ["pi.local"]) == known


# ---------------------------------------------------------------------------------------------------- the bundle


def members(out: Path, name: str = "rpi") -> dict[str, bytes]:
    with tarfile.open(out / f"edgesr-{name}.tar") as archive:
        found = archive.getmembers()
        assert all(one.isfile() and (one.uid, one.gid, one.uname) == (0, 0, "") for one in found)
        assert all(one.name.startswith(f"edgesr-{name}/") and ".." not in one.name for one in found)
        assert {one.mode for one in found} == {0o644, 0o755}
        return {one.name: archive.extractfile(one).read() for one in found}  # type: ignore[union-attr]


def test_the_same_artifacts_give_the_same_bytes_with_nothing_of_the_builder(tmp_path: Path) -> None:
    bundle([artifact(tmp_path / "here")], "rpi", tmp_path / "a")
    bundle([artifact(tmp_path / "else" / "where")], "rpi", tmp_path / "b")
    tar = (tmp_path / "a" / "edgesr-rpi.tar").read_bytes()
    assert tar == (tmp_path / "b" / "edgesr-rpi.tar").read_bytes()
    for word in builder_words(tmp_path):
        assert word.encode() not in tar


def test_a_bundle_has_what_it_needs_and_nothing_that_converts(tmp_path: Path) -> None:
    place = artifact(tmp_path)
    bundle([place], "rpi", tmp_path / "out")
    found = members(tmp_path / "out")
    for file in place.iterdir():
        assert found[f"edgesr-rpi/models/{place.name}/{file.name}"] == file.read_bytes()
    assert not [name for name in found if re.search(r"edgesr/(targets|quantization|models|train|cli|pipeline)", name)]
    readme, notice = (found[f"edgesr-rpi/{name}"].decode() for name in ("README.md", "NOTICE.txt"))
    assert all(f"\n{step}. " in readme for step in (1, 2, 3))
    assert (tmp_path / "out" / "README.md").read_text() == readme
    assert "MIT License" in notice
    assert "Given by whoever made this bundle" in notice
    assert "onnxruntime>=" in notice


def test_a_jetson_builds_its_engine_with_the_artifact_s_script(tmp_path: Path) -> None:
    """trtexec is a stand-in that writes down its arguments: TensorRT is not here."""
    bundle([artifact(tmp_path, "tensorrt", "int8")], "jetson", tmp_path / "out")
    folder = unpacked(tmp_path / "out", "jetson")
    (tmp_path / "bin").mkdir()
    trtexec = tmp_path / "bin" / "trtexec"
    trtexec.write_text(
        '#!/bin/sh\nfor one in "$@"; do case $one in --saveEngine=*) echo "$@" >"${one#--saveEngine=}";; esac; done\n'
    )
    trtexec.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        done = run(folder, "./engines.sh")
        assert done.returncode == 0, done.stderr
        engine = folder / "engines" / "repeat_x2_tensorrt_int8_dynamic.engine"
        assert "--onnx=" in engine.read_text()
        trtexec.write_text("#!/bin/sh\nexit 3\n")
        engine.unlink()
        done = run(folder, "./engines.sh")
    assert (done.returncode, "could not be built" in done.stderr) == (1, True)
    assert list((folder / "engines").iterdir()) == []
    assert "as a reference" in (folder / "README.md").read_text()


def test_scripts_are_shell_and_the_unit_listens_here_alone(tmp_path: Path) -> None:
    bundle([artifact(tmp_path, "tensorrt")], "jetson", tmp_path / "out")
    folder = unpacked(tmp_path / "out", "jetson")
    for name in ("install.sh", "run", "upscale", "bench", "serve", "engines.sh"):
        assert os.access(folder / name, os.X_OK)
        assert subprocess.run(["sh", "-n", folder / name]).returncode == 0
    unit = (folder / "edgesr.service").read_text()
    assert "--host 127.0.0.1" in unit
    for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert f"\n{line}\n" in unit
    assert re.findall(r"@[A-Z]+@", (folder / "install.sh").read_text()) == ["@HERE@"]  # filled by install.sh itself


@pytest.mark.parametrize("answers", [True, False])
def test_the_service_is_restarted_and_asked_before_it_is_said_to_run(
    board: Path, port: int, tmp_path: Path, answers: bool
) -> None:
    """systemctl, setpriv and id are stand-ins; the service that answers is one that runs already."""
    copy, unit = tmp_path / "copy", tmp_path / "edgesr.service"
    shutil.copytree(board, copy, symlinks=True)
    script = (copy / "install.sh").read_text()
    for old, new in (
        ("unit=/etc/systemd/system/edgesr.service", f"unit={unit}"),
        (":8000/about", f":{port if answers else 9}/about"),
        ("left=60", "left=2"),
        ("case $here in", "case plain in"),
    ):
        assert script.count(old) == 1
        script = script.replace(old, new)
    (copy / "install.sh").write_text(script)
    sums = (copy / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copy / "SHA256SUMS").write_text("".join(line for line in sums if not line.endswith("  install.sh\n")))
    (tmp_path / "bin").mkdir()
    for name, does in (("systemctl", f'echo "$@" >>"{tmp_path}/said"'), ("setpriv", "exit 0"), ("id", "echo 0")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        before = os.umask(0o077)
        try:
            done = run(copy, "./install.sh", "--service")
        finally:
            os.umask(before)
    assert (done.returncode, "The service runs" in done.stdout) == ((0, True) if answers else (1, False)), done.stderr
    assert ("the service does not answer at http://127.0.0.1:9/about" in done.stderr) != answers
    assert "restart edgesr.service" in (tmp_path / "said").read_text().splitlines()
    assert f"ExecStart={copy}/serve " in unit.read_text()
    assert (copy / "site" / "packages").stat().st_mode & 0o777 == 0o755


def test_install_says_what_is_missing(tmp_path: Path) -> None:
    bundle([artifact(tmp_path)], "rpi", tmp_path / "out")
    folder = unpacked(tmp_path / "out")
    assert "Run " in run(folder, "./upscale", "x.png").stderr
    assert "does not start" in run(folder, "./install.sh", python="/nowhere/python3").stderr
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$2" in *version_info\\ \\<*) exit 1;; esac\necho 3.9\n')
    old.chmod(0o755)
    assert "is Python 3.9; 3.11 or newer is needed" in run(folder, "./install.sh", python=str(old)).stderr
    assert "unknown option --servce" in run(folder, "./install.sh", "--servce").stderr
    assert not (folder / "site").exists()


# ---------------------------------------------------------------------------------------------------- refused


def test_an_artifact_of_another_platform_is_refused_with_the_target_to_convert_to(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"tensorrt, which rpi does not run.*edgesr convert .* --target onnxruntime"):
        bundle([artifact(tmp_path, "tensorrt")], "rpi", tmp_path / "out")


@pytest.mark.parametrize("python", ["3.10", "2.7", "3", "3.x", "3.13; rm -rf", "three"])
def test_a_python_that_is_none_is_refused(tmp_path: Path, python: str) -> None:
    with pytest.raises(UsageError, match=r"is no version from 3\.11 on"):
        bundle([artifact(tmp_path)], "rpi", tmp_path / "out", options=Options(python=python))


def test_an_option_of_another_platform_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bundle", str(artifact(tmp_path)), "-p", "web", "-o", str(tmp_path / "out"), "--offline"])
    assert ended.value.code == 2
    assert "--offline is for rpi and jetson, not for web" in capsys.readouterr().err


def test_wheels_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    options = Options(wheels=tmp_path / "wheels")
    with pytest.raises(
        BundleError, match=r"rpi: there is no wheel of \S+ for Python 3.13 on .*Choose another --python"
    ):
        bundle([artifact(tmp_path)], "rpi", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()
