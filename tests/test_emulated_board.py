"""An arm64 board, emulated, over ssh: it is set up as a user's would be, and the INT8 artifacts run there.

See tests/emulated/arm64_root.py. It proves wheels, runner and numerics of Arm kernels, and nothing of speed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from emulated import arm64_root
from loopback_sshd import client_config, free_port, make_client
from PIL import Image

pytest.importorskip("torch", reason="needs edgesr[export]")

from edgesr.bundles import bundle
from edgesr.bundles.options import Options
from edgesr.devices import Device, connect, thermal
from edgesr.devices.setup import RUNTIMES, Installed, Wanted, clean, installed, set_up
from edgesr.devices.ssh import CONFIG_VARIABLE
from edgesr.errors import DeviceError
from edgesr.metrics import psnr_db, to_input, to_uint8
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.resize import resize_matlab
from edgesr.runner import Array, open_artifact

pytestmark = pytest.mark.slow

MODEL, SCALE, SIZE = "plainusr-t", 4, (48, 64)
ON_BOARD = ("onnxruntime", "litert", "tflite-runtime", "ncnn", "openvino")
SAME_DB = 0.05
"""How far the PSNR against the photo may be from the host's: kernels of the two processors round differently."""
CODE = """
import json, sys
from pathlib import Path
import numpy as np
from edgesr.runner import open_artifact
runner = open_artifact(Path(sys.argv[1]), threads=1)
np.save(sys.argv[3], runner(np.load(sys.argv[2])))
print(json.dumps(runner.describe()))
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[arm64_root.Board]:
    lacks = arm64_root.missing()
    if lacks is not None:
        if "EDGESR_REQUIRE_TARGETS" in os.environ and os.name == "posix" and os.getuid() == 0:
            pytest.fail(f"CI has to run the emulated board; it needs {lacks}")
        pytest.skip(f"NO EMULATED BOARD: nothing is run on Arm, because this needs {lacks}")
    folder = tmp_path_factory.mktemp("ssh")
    make_client(folder)
    port = free_port()
    with arm64_root.serve((folder / "client.pub").read_text(), port) as running:
        client_config(folder, port, running.host_key, "root")
        yield running


@pytest.fixture(scope="module")
def device(board: arm64_root.Board, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    config = next(tmp_path_factory.getbasetemp().glob("ssh*/config"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, str(config))
        reached = connect("ssh:board")
        clean(reached, reached.folder)
        yield reached
        clean(reached, reached.folder)
        reached.close()


@pytest.fixture(scope="module")
def there(device: Device) -> Installed:
    """Every runtime, as one user's command brings them."""
    return set_up(device, Wanted(ON_BOARD, device.folder), print)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifacts")
    targets = dict.fromkeys(RUNTIMES[runtime].target for runtime in ON_BOARD)
    outcome = convert_all(Session(MODEL, int8=True), plan(MODEL, SCALE, targets, ("int8",), (SIZE,)), out)
    if outcome.first_error is not None:
        raise outcome.first_error
    return out


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(H, W, 3) uint8, four times SIZE."""
    data = pytest.importorskip("skimage.data", reason="needs edgesr[demo]")
    height, width = (side * SCALE for side in SIZE)
    pixels: np.ndarray = data.chelsea()[60 : 60 + height, 100 : 100 + width]
    return pixels


def test_the_board_says_that_it_is_emulated(device: Device) -> None:
    facts = device.facts()
    assert (facts.kind, facts.emulator, facts.arch) == ("emulated", "qemu", "aarch64")
    assert facts.os.startswith("Debian GNU/Linux 12")
    assert [cluster.name for cluster in facts.clusters] == ["Cortex-A76"]
    assert facts.cores == os.cpu_count()
    assert facts.python is not None
    assert facts.python.version[:2] == (3, 11)
    assert facts.python.libc == ("glibc", "2.36")
    assert thermal(device).throttled == ()


def test_every_emulated_program_is_known_as_such_without_proc_cpuinfo(device: Device) -> None:
    """What tells it is the kernel's word on another process, not a file that could be anything."""
    seen = device.run(["sh", "-c", "readlink /proc/$$/exe"], timeout_s=60).stdout
    assert "qemu" in seen
    assert "qemu" not in os.readlink("/proc/self/exe")


@pytest.mark.parametrize("runtime", ON_BOARD)
def test_the_int8_artifact_computes_there_what_it_computes_here(
    device: Device, there: Installed, artifacts: Path, photo: np.ndarray, tmp_path: Path, runtime: str
) -> None:
    folder = next(artifacts.glob(f"{MODEL}_x{SCALE}_{RUNTIMES[runtime].target}_int8_*"))
    x = to_input(resize_matlab(photo, 1 / SCALE))
    np.save(tmp_path / "x.npy", x)
    job = f"{device.folder}/job"
    device.push(folder, f"{job}/artifact")
    device.push(tmp_path / "x.npy", f"{job}/x.npy")
    done = device.run(there.argv(runtime, "-c", CODE, f"{job}/artifact", f"{job}/x.npy", f"{job}/y.npy"), timeout_s=300)
    assert done.code == 0, done.stderr_tail
    device.pull(f"{job}/y.npy", tmp_path / "y.npy")
    ours, theirs = open_artifact(folder, threads=1)(x), np.load(tmp_path / "y.npy")
    psnr_here, psnr_there = db(ours, photo), db(theirs, photo)
    off = np.abs(ours - theirs).max() * 255
    version = there.versions[runtime]
    print(f"{runtime} {version}: {psnr_there:.3f} dB, here {psnr_here:.3f} dB, at most {off:.2f}/255 apart")
    assert theirs.shape == ours.shape
    assert abs(psnr_there - psnr_here) < SAME_DB
    assert psnr_there > 25


def db(upscaled: Array, photo: np.ndarray) -> float:
    return psnr_db(to_uint8(upscaled[0].transpose(1, 2, 0)), photo, "paper-y", SCALE)


def test_a_bundle_installs_itself_without_a_network_and_upscales_as_here(
    device: Device, artifacts: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    place = "edgesr-bundle"
    folder = next(artifacts.glob(f"{MODEL}_x{SCALE}_onnxruntime_int8_*"))
    bundle([folder], "rpi", tmp_path / "out", options=Options(offline=True, python="3.11"))
    Image.fromarray(photo).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    device.push(tmp_path / "out" / "edgesr-rpi.tar", f"{place}/edgesr-rpi.tar")
    device.push(tmp_path / "photo.png", f"{place}/photo.png")
    program = 'cd -- "$1" && tar xf edgesr-rpi.tar && edgesr-rpi/install.sh && edgesr-rpi/upscale photo.png'
    offline = ["env", "PIP_NO_INDEX=1", "sh", "-c", program, "edgesr", place]
    done = device.run(offline, timeout_s=500)
    assert done.code == 0, done.stdout + done.stderr_tail
    assert f"{folder.name}: onnxruntime " in done.stdout
    device.pull(f"{place}/photo_x{SCALE}.png", tmp_path / "there.png")
    device.run(["rm", "-r", place], timeout_s=60)
    low = np.asarray(Image.open(tmp_path / "photo.png"))
    ours = to_uint8(open_artifact(folder, threads=1)(to_input(low))[0].transpose(1, 2, 0))
    theirs = np.asarray(Image.open(tmp_path / "there.png"))
    here_db, there_db = (psnr_db(found, photo, "paper-y", SCALE) for found in (ours, theirs))
    off = np.abs(ours.astype(int) - theirs).max()
    print(f"bundle: {there_db:.3f} dB, here {here_db:.3f} dB, at most {off}/255 apart")
    assert abs(there_db - here_db) < SAME_DB


def test_a_second_setup_does_nothing_and_clean_leaves_nothing(
    device: Device, there: Installed, board: arm64_root.Board
) -> None:
    said: list[str] = []
    assert set_up(device, Wanted(("onnxruntime",), device.folder), said.append) == there
    assert said == ["ssh:board: onnxruntime stand in .edgesr already."]
    assert (board.home / ".edgesr").is_dir()
    assert clean(device, device.folder)
    assert not (board.home / ".edgesr").exists()
    assert not clean(device, device.folder)
    assert installed(device, device.folder) is None


def test_a_full_disk_is_one_line(device: Device, tmp_path: Path) -> None:
    """/mnt on the board has 600 KB."""
    (tmp_path / "large").write_bytes(bytes(900_000))
    with pytest.raises(DeviceError, match=r"the disk under '/mnt/x/large' is full: 880 KB needed, \d+ KB free"):
        device.push(tmp_path / "large", "/mnt/x/large")
    with pytest.raises(DeviceError, match=r"needs \d+ MB and the disk there has [01] MB free"):
        set_up(device, Wanted(("tflite-runtime",), "/mnt/edgesr"), print)
    assert installed(device, "/mnt/edgesr") is None


def test_a_board_without_python_is_one_line(device: Device) -> None:
    with pytest.raises(DeviceError, match=r"there is no Python on the device\. Install Python 3\.11"):
        set_up(device, Wanted(("ncnn",), "other", python="python4"), print)


def test_a_runtime_for_another_processor_is_one_line(device: Device, tmp_path: Path) -> None:
    """Wheels of this machine alone: pip finds none for the board."""
    assert os.uname().machine != "aarch64"
    with pytest.raises(DeviceError, match=r"there is no wheel of ncnn\S* for Python 3.11 on manylinux_2_36_aarch64"):
        set_up(device, Wanted(("ncnn",), "other", wheels=tmp_path), print)


def test_nothing_is_left_running_on_the_board(device: Device) -> None:
    with pytest.raises(DeviceError, match="took longer"):
        device.run(["sleep", "654.25"], timeout_s=2)
    seen = device.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\000' '\\n' | grep -cx 654.2[5]"], timeout_s=60)
    assert seen.stdout.strip() == "0"
