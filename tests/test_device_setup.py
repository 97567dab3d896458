"""What is put on a device: the runner found by its imports, wheels for its Python, unpacked there, removed again."""

import io
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from edgesr.devices import Device, connect, unpack
from edgesr.devices.bundle import THIRD_PARTY, runner_bundle, write_wheel
from edgesr.devices.facts import Python
from edgesr.devices.protocol import Done
from edgesr.devices.setup import RUNTIMES, Wanted, clean, installed, set_up, why
from edgesr.devices.wheels import download, platforms, unpacked_mb
from edgesr.errors import DeviceError, UnknownName, UsageError

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "click", "rich", "pydantic", "onnx", "pooch")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """This machine, with a home folder of its own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return connect("local")


def python(platform: str, bits: int = 64, libc: tuple[str, str] = ("glibc", "2.36")) -> Python:
    return Python((3, 11, 2), platform, bits, "cpython", libc, "/usr/bin/python3")


def test_requirements_are_those_of_this_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)}
    ours = {RUNTIMES[name].requirements[0] for name in RUNTIMES if name != "tflite-runtime"} | set(THIRD_PARTY.values())
    assert ours <= known


def test_the_bundle_is_the_runner_and_what_it_imports() -> None:
    bundle = runner_bundle()
    runner = {f"edgesr/runner/{file.name}" for file in (ROOT / "edgesr" / "runner").glob("*.py")}
    assert runner | {"edgesr/__init__.py", "edgesr/errors.py", "edgesr/extras.py"} <= bundle.files.keys()
    assert not any(name.startswith(("edgesr/models", "edgesr/cli", "edgesr/devices")) for name in bundle.files)
    assert "numpy>=1.26,<3" in bundle.requirements


def test_the_same_code_makes_the_same_wheel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (write_wheel(runner_bundle(), tmp_path / name) for name in ("a", "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_bundle_opens_artifacts_without_the_rest_of_this_package(tmp_path: Path) -> None:
    write_wheel(runner_bundle(), tmp_path)
    unpack.main(str(tmp_path), str(tmp_path / "wheels"))
    (folder,) = (tmp_path / "wheels").iterdir()
    code = (
        f"import sys; [sys.modules.__setitem__(name, None) for name in {HEAVY}]; import edgesr; "
        "from edgesr.runner import open_artifact; from pathlib import Path; print(edgesr.__file__)\n"
        "try: open_artifact(Path('nothing'), threads=1)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    env = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout.split() == [str(folder / "edgesr" / "__init__.py"), "ArtifactError"], done.stderr


def wheel(folder: Path, name: str, members: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return folder / name


def test_a_wheel_s_data_folder_belongs_beside_the_rest(tmp_path: Path) -> None:
    members = {
        "a/__init__.py": "1",
        "a-1.data/purelib/a/pure.py": "2",
        "a-1.data/platlib/b.py": "3",
        "a-1.data/scripts/tool": "4",
        "a-1.dist-info/METADATA": "5",
    }
    wheel(tmp_path / "in", "a-1-py3-none-any.whl", members)
    unpack.main(str(tmp_path / "in"), str(tmp_path / "out"))
    folder = tmp_path / "out" / "a-1-py3-none-any"
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert found == {"a/__init__.py", "a/pure.py", "b.py", "a-1.dist-info/METADATA"}
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a-1.data/purelib/../../x", "..\\x"])
def test_a_wheel_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    wheel(tmp_path / "in", "a-1-py3-none-any.whl", {name: "x"})
    with pytest.raises(ValueError, match="leaves its folder"):
        unpack.main(str(tmp_path / "in"), str(tmp_path / "out"))
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["a-1-py3-none-any.whl"]


def test_a_damaged_wheel_leaves_no_folder_and_one_line(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.py", "x" * 1000)
        archive.writestr("b.py", "y" * 1000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a-1-py3-none-any.whl").write_bytes(data.getvalue().replace(b"yyyy", b"yyyz", 1))
    done = subprocess.run(
        [sys.executable, unpack.__file__, tmp_path / "in", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("BadZipFile: ")
    assert not (tmp_path / "out" / "a-1-py3-none-any").exists()


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        (python("linux-aarch64"), "manylinux_2_36_aarch64", "manylinux2014_aarch64"),
        (python("linux-aarch64", bits=32), "manylinux_2_36_armv7l", "manylinux2014_armv7l"),
        (python("linux-x86_64", libc=("glibc", "2.17")), "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
        (python("linux-aarch64", libc=("", "")), "musllinux_1_2_aarch64", "musllinux_1_1_aarch64"),
        (python("macosx-14.0-arm64"), "macosx_14_0_arm64", "macosx_11_0_universal2"),
        (python("macosx-10.15-x86_64"), "macosx_10_15_x86_64", "macosx_10_9_universal2"),
        (python("macosx-12-x86_64"), "macosx_12_0_x86_64", "macosx_10_9_universal2"),
    ],
)
def test_platforms_of_wheels(asked: Python, first: str, last: str) -> None:
    tags = platforms(asked)
    assert (tags[0], tags[-1]) == (first, last)


@pytest.mark.parametrize("platform", ["win-amd64", "freebsd-14", ""])
def test_other_systems_have_no_wheels(platform: str) -> None:
    with pytest.raises(DeviceError, match="Linux and macOS only"):
        platforms(python(platform))


def test_a_folder_without_the_wheel_says_for_what_it_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        download(["onnxruntime>=1.23,<2"], python("linux-aarch64", bits=32), tmp_path, tmp_path, "ssh:pi")
    assert str(caught.value) == (
        "ssh:pi: there is no wheel of onnxruntime<2,>=1.23 for Python 3.11 on manylinux_2_36_armv7l. Choose another "
        "--runtime, or pass --wheels DIR."
    )


def test_wheels_from_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        download(["numpy"], python("linux-aarch64"), tmp_path / "none", tmp_path, "ssh:pi")


def test_what_is_no_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("no zip")
    with pytest.raises(DeviceError, match=r"a\.whl is not a wheel"):
        unpacked_mb([tmp_path / "a.whl"])


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (132, "", "an instruction that this processor does not have"),
        (137, "", "too little memory"),
        (139, "x", "segmentation fault"),
        (1, "OSError: [Errno 28] No space left on device", "the disk is full"),
        (1, "ImportError: x.so: wrong ELF class: ELFCLASS64", "wrong architecture"),
        (126, "sh: 1: ./x: Exec format error", "wrong architecture"),
        (1, "a\nModuleNotFoundError: No module named 'x'\n", "ModuleNotFoundError: No module named 'x'"),
        (1, "", "it said nothing"),
    ],
)
def test_why_a_command_ended_is_said_in_words(code: int, said: str, expected: str) -> None:
    text = why(Done(code, "", said))
    assert expected in text
    assert "\n" not in text


@pytest.mark.slow
def test_set_up_here_runs_offline_and_again_does_nothing(device: Device, tmp_path: Path) -> None:
    said: list[str] = []
    done = set_up(device, Wanted(("ncnn",), "some/folder"), said.append)
    assert done.folder == str(tmp_path / "home" / "some" / "folder")
    ran = device.run(
        done.argv("ncnn", "-c", "import ncnn, edgesr; print(ncnn.__file__, edgesr.__file__)"), timeout_s=60
    )
    assert all(path.startswith(f"{done.folder}/wheels/") for path in ran.stdout.split()), ran
    assert not (Path(done.folder) / "incoming").exists()
    said.clear()
    assert set_up(device, Wanted(("ncnn",), "some/folder"), said.append) == done
    assert said == ["local: ncnn stand in some/folder already."]
    assert installed(device, "some/folder") == done
    with pytest.raises(UnknownName, match="ncnn"):
        done.argv("openvino")
    assert (done.runtime_of("ncnn"), done.runtime_of("tflite")) == ("ncnn", None)
    # Another interpreter, here the same one by another name: nothing of the one before is taken for it.
    other = tmp_path / "other-python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    stamp = Path(done.folder) / "setup.json"
    stamp.write_text(stamp.read_text().replace(json.dumps(done.python), json.dumps("/usr/bin/python3.99")))
    said.clear()
    assert set_up(device, Wanted(("ncnn",), "some/folder", str(other)), said.append).python == done.python
    assert "Verifying on local ..." in said
    # An interrupted setup has no stamp: what is there is used again.
    (Path(done.folder) / "setup.json").unlink()
    said.clear()
    assert set_up(device, Wanted(("ncnn",), "some/folder"), said.append) == done
    assert "Pushing 0 wheels, 0.0 MB, to local ..." in said
    assert clean(device, "some/folder")
    assert not Path(done.folder).exists()


def test_clean_leaves_a_folder_that_setup_did_not_make(device: Device, tmp_path: Path) -> None:
    (tmp_path / "home" / "photos").mkdir()
    with pytest.raises(DeviceError, match="was not made by edgesr device setup"):
        clean(device, "photos")
    assert (tmp_path / "home" / "photos").is_dir()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "paths": 3}']
)
def test_a_stamp_that_cannot_be_read_is_none(device: Device, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "home" / "x"
    folder.mkdir()
    (folder / "setup.json").write_text(text)
    assert installed(device, "x") is None


def run(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "edgesr.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=home, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("facts", "pi"), 2, "is not the address of a device. Forms: local, ssh:"),
        (("setup", "local", "--runtime", "onnxruntim"), 2, "Did you mean 'onnxruntime'?"),
        (("setup", "local", "--folder", "../x"), 2, "cannot be a path on a device"),
        (("setup", "local", "--folder", "a b"), 2, "cannot be a path on a device"),
        (("setup", "local", "--python", "python2.0"), 13, "there is no Python on the device"),
        (("setup", "local", "--wheels", "none"), 2, "--wheels none is not a folder"),
        (("setup", "local", "--folder", "/proc/x", "--wheels", "."), 13, "there is no wheel of onnxruntime"),
        (("facts", "ssh:nobody@127.0.0.1:1"), 13, "nothing listens on that port"),
        (("setup", "ssh:nobody@127.0.0.1:1"), 13, "nothing listens on that port"),
        (("clean", "ssh:nobody@127.0.0.1:1"), 13, "nothing listens on that port"),
    ],
)
def test_bad_requests_are_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run("device", *arguments, home=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sum(line.startswith("Error:") for line in done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_facts_on_the_command_line(tmp_path: Path) -> None:
    assert json.loads(run("device", "facts", "local", "--json", home=tmp_path).stdout)["kind"] in ("host", "device")
    assert "cores" in run("device", "facts", "local", home=tmp_path).stdout


def test_clean_says_that_there_is_nothing(tmp_path: Path) -> None:
    assert run("device", "clean", "local", home=tmp_path).stdout == "local: there is no .edgesr.\n"
