"""Where weights files are: found on this machine, shipped with the package, or downloaded. No torch.

Looked for in this order: an explicit file; the folder in EDGESR_WEIGHTS_DIR; the user's cache; the package itself
(trained by this project); the authors' public address, pinned to a commit and checked by sha256.
"""

import hashlib
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from edgesr.errors import WeightsError
from edgesr.models.registry import ModelSpec, OfficialWeights

Kind = Literal["official", "edgesr-trained", "user"]
DOWNLOAD_TIMEOUT_S = 20


def locate(spec: ModelSpec, file: Path | None, say: Callable[[str], None] = print) -> tuple[Path, Kind]:
    """The file to load for `spec`, and whose weights they are. Downloads only if nothing is found here."""
    if file is not None:
        check_given(file)
        return file, kind_of(spec, file)
    for folder in _local_folders():
        candidate = _in_folder(folder, spec.weights.file)
        if candidate is not None:
            if spec.weights.sha256 is None:
                return candidate, "user"
            _check_sha256(candidate, spec.weights)
            return candidate, "official"
    shipped = shipped_file(spec)
    if shipped is not None:
        return shipped, "edgesr-trained"
    return _download(spec, say), "official"


def check_given(file: Path) -> None:
    """Raise WeightsError if `file` is none."""
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise WeightsError(f"The weights file {file} {what}. Give a .safetensors or .pth file.")


def here(spec: ModelSpec) -> Path | None:
    """The file that `locate` would take, or None if it had to be downloaded."""
    local = (_in_folder(folder, spec.weights.file) for folder in _local_folders())
    return next((found for found in local if found is not None), shipped_file(spec))


def where(spec: ModelSpec) -> str:
    """In words, where `load` would take the weights of `spec` from; touches no network."""
    for folder in _local_folders():
        candidate = _in_folder(folder, spec.weights.file)
        if candidate is not None:
            return f"{'official' if spec.weights.sha256 else 'user'}, {candidate}"
    if shipped_file(spec) is not None:
        return "edgesr-trained, shipped with the package"
    how = "download" if spec.weights.address else "get by hand"
    return f"official, {how} from {spec.weights.source}"


def shipped_file(spec: ModelSpec) -> Path | None:
    """Weights of this project inside the package, or None."""
    file = Path(str(resources.files("edgesr.assets"))) / f"{spec.key}.safetensors"
    return file if file.is_file() else None


def card_of(spec: ModelSpec) -> dict[str, Any] | None:
    """The model card of the shipped weights (data, recipe, seed, PSNR), or None."""
    file = shipped_file(spec)
    if file is None:
        return None
    card: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return card


def sha256_of(path: Path) -> str:
    """Raises WeightsError if the file cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror}. Check the file and its rights.") from error


def cache_folder() -> Path:
    """The user's cache for downloaded weights."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgesr")) / "weights"


def kind_of(spec: ModelSpec, file: Path) -> Kind:
    """Whose weights a file given by name holds: known ones are recognised by their bytes."""
    found, shipped = sha256_of(file), shipped_file(spec)
    if found == spec.weights.sha256:
        return "official"
    return "edgesr-trained" if shipped is not None and found == sha256_of(shipped) else "user"


def _local_folders() -> list[Path]:
    variable = os.environ.get("EDGESR_WEIGHTS_DIR")
    if not variable:
        return [cache_folder()]
    folder = Path(variable).expanduser()
    if not folder.is_dir():
        raise WeightsError(f"EDGESR_WEIGHTS_DIR is {variable!r}, which is not a folder. Correct or unset it.")
    return [folder, cache_folder()]


def _in_folder(folder: Path, name: str) -> Path | None:
    """`name` in `folder` or in one of its direct subfolders."""
    found = [folder / name, *sorted(folder.glob(f"*/{name}"))] if folder.is_dir() else []
    return next((path for path in found if path.is_file()), None)


def _check_sha256(path: Path, weights: OfficialWeights) -> None:
    found = sha256_of(path)
    if found != weights.sha256:
        raise WeightsError(
            f"{path} is not the official {weights.file}: its sha256 is {found}, expected {weights.sha256}. "
            f"It is damaged or another version. Delete it, get it again from {weights.source}, or pass your own file "
            "with --weights."
        )


def _download(spec: ModelSpec, say: Callable[[str], None]) -> Path:
    weights = spec.weights
    by_hand = (
        f"Get {weights.file} from {weights.source} and pass it with --weights FILE, or name its folder in "
        "EDGESR_WEIGHTS_DIR."
    )
    if weights.sha256 is None:
        by_hand = f"Get them from {weights.source} and pass the file with --weights FILE."
    if weights.address is None:
        raise WeightsError(f"The weights of {spec.name} x{spec.scale} have no direct address. {by_hand}")
    import pooch

    pooch.get_logger().setLevel("ERROR")
    say(f"Downloading {weights.file} ({weights.licence}) from {weights.source} ...")
    try:
        file = pooch.retrieve(
            weights.address,
            known_hash=f"sha256:{weights.sha256}",
            fname=weights.file,
            path=cache_folder(),
            # A few MB, held in memory: pooch 1.9 does not close a stream that fails.
            downloader=pooch.HTTPDownloader(timeout=DOWNLOAD_TIMEOUT_S, stream=False),
        )
    except (OSError, ValueError) as error:  # requests' errors are OSError; a wrong hash is ValueError
        raise WeightsError(f"Could not download {weights.address}: {_why_not(error)}. {by_hand}") from error
    return Path(file)


def _why_not(error: OSError | ValueError) -> str:
    """In words: what requests says of a connection that cannot be made is the inside of its libraries."""
    kind = type(error).__name__
    if kind in ("ConnectionError", "ConnectTimeout", "SSLError", "ProxyError"):
        return f"no connection to the server ({kind}). Is this machine online?"
    return (str(error).splitlines() or [kind])[0][:300]
