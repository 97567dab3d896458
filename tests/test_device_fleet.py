"""A list of devices in a file, and what can be wrong with it."""

from pathlib import Path

import pytest

from edgesr.devices.fleet import Member, read_fleet
from edgesr.errors import UsageError

GOOD = """
[[device]]
name = "pi5"
address = "ssh:pi@pi5.local:2222"
threads = [1, 2, 4]
runtimes = ["onnxruntime", "ncnn"]
folder = "bench/edgesr"
python = "/opt/python/bin/python3"

[[device]]
name = "here"
address = "local"
"""


def fleet(folder: Path, text: str | bytes) -> Path:
    file = folder / "fleet.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_fleet_is_values(tmp_path: Path) -> None:
    assert read_fleet(fleet(tmp_path, GOOD)) == (
        Member(
            "pi5",
            "ssh:pi@pi5.local:2222",
            (1, 2, 4),
            ("onnxruntime", "ncnn"),
            "bench/edgesr",
            "/opt/python/bin/python3",
        ),
        Member("here", "local", (), ("onnxruntime",), None, "python3"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "device: Field required"),
        ("device = []", "device: List should have at least 1 item"),
        ("[[devices]]\nname = 'a'", "device: Field required"),
        (GOOD + "\n[other]\nx = 1", "other: unknown key. Known: [[device]] tables only"),
        (GOOD.replace("threads", "thread"), "device 1, thread: unknown key. Known: name, address, threads"),
        (GOOD.replace('"here"', '"pi5"'), "two devices are named 'pi5'"),
        (GOOD.replace('"here"', '"a/b"'), "device 2, name: String should match pattern"),
        (GOOD.replace('"local"', '"pi"'), "device 2 ('here'): 'pi' is not the address of a device"),
        (GOOD.replace('"local"', "3"), "device 2, address: Input should be a valid string, got '3'"),
        (GOOD.replace("[1, 2, 4]", "[0]"), "device 1 ('pi5'): threads are at least 1, got [0]"),
        (GOOD.replace("[1, 2, 4]", "4"), "device 1, threads: Input should be a valid list"),
        (GOOD.replace("[1, 2, 4]", '["4"]'), "device 1, threads, 1: Input should be a valid integer"),
        (GOOD.replace('"ncnn"', '"ncn"'), "Did you mean 'ncnn'?"),
        (GOOD.replace("bench/edgesr", "../x"), "cannot be a path on a device"),
        ("[[device", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_fleet(fleet(tmp_path, text))
    assert words in str(caught.value)
    assert "fleet.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match="Cannot read the list of devices"):
            read_fleet(path)
