"""Artifacts of models x targets x precisions x sizes: made once, made anew where they are not what is asked for."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("onnxruntime", reason="needs edgesr[onnxruntime]")
pytest.importorskip("onnxscript", reason="needs edgesr[onnxruntime]")

from safetensors.torch import load_file, save_file

from edgesr.artifact import read_manifest
from edgesr.bench.sweep import Grid, is_there, make
from edgesr.cli import main
from edgesr.errors import UsageError
from edgesr.listener import Silent
from edgesr.models.files import sha256_of
from edgesr.verify import Limit

MODEL = "plainusr-t"
FLOAT = Grid((MODEL,), 4, ("onnxruntime",), ("fp32",), ((48, 64),), None, None, None)
INTEGER = replace(FLOAT, precisions=("int8",))
NAME = f"{MODEL}_x4_onnxruntime_fp32_48x64"


def made_at(folder: Path) -> int:
    return (folder / "manifest.json").stat().st_mtime_ns


def test_what_is_there_is_not_made_again_unless_it_is_of_other_weights(tmp_path: Path) -> None:
    made = make(FLOAT, tmp_path, Silent())
    assert made.artifacts == (tmp_path / NAME,)
    assert made.missing == ()
    first = made_at(tmp_path / NAME)
    assert make(FLOAT, tmp_path, Silent()) == made
    assert made_at(tmp_path / NAME) == first
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    manifest["weights"]["sha256"] = "0" * 64
    (tmp_path / NAME / "manifest.json").write_text(json.dumps(manifest))
    assert make(FLOAT, tmp_path, Silent()) == made
    assert json.loads((tmp_path / NAME / "manifest.json").read_text())["weights"]["sha256"] != "0" * 64


def test_weights_of_ones_own(tmp_path: Path) -> None:
    (shipped,) = make(FLOAT, tmp_path, Silent()).artifacts
    before = made_at(shipped)
    own = tmp_path / "own.safetensors"
    tensors = load_file(str(resources.files("edgesr.assets") / f"{MODEL}_x4.safetensors"))
    save_file({name: tensor * 1.001 for name, tensor in tensors.items()}, own)
    mine = replace(FLOAT, weights=own)
    assert make(mine, tmp_path, Silent()).artifacts == (shipped,)
    after = made_at(shipped)
    assert after != before
    assert read_manifest(shipped).weights.sha256 == sha256_of(own)
    make(mine, tmp_path, Silent())
    assert made_at(shipped) == after


def test_weights_are_of_one_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.safetensors"
    own.touch()
    runs = tmp_path / "runs"
    with pytest.raises(SystemExit) as ended:
        main(["sweep", MODEL, "bsrn-s", "-t", "onnxruntime", "--weights", str(own), "-o", str(runs)])
    assert ended.value.code == UsageError.exit_code
    assert f"--weights is of one network, and {MODEL} bsrn-s are several" in capsys.readouterr().err
    assert not runs.exists()


def test_int8_counts_as_there_only_within_the_contract_that_is_asked_for(tmp_path: Path) -> None:
    (folder,) = make(INTEGER, tmp_path, Silent()).artifacts
    assert is_there(folder, None, None)
    assert is_there(folder, None, Limit(3.0, 3.0))
    assert not is_there(folder, None, Limit(1e-9, 3.0))
    assert not is_there(folder, "0" * 64, None)
    assert not is_there(tmp_path / "nowhere", None, None)


def test_one_that_fails_does_not_stop_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["-t", "onnxruntime", "-t", "executorch-vulkan", "--size", "48x64", "--profile", "smoke", "--threads", "1"]
    with pytest.raises(SystemExit):
        main(["sweep", MODEL, *grid, "-o", str(tmp_path / "runs"), "--json"])
    printed = capsys.readouterr()
    assert [row["subject"]["name"] for row in json.loads(printed.out)] == [NAME], printed.err
    assert "executorch-vulkan" in printed.err
