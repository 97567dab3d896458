"""The web bundle: a static site, `www`, that works offline after its first load, and a README.

www/models/SLUG/ holds each artifact whole and unchanged; bundle.json names them with the hash of their manifests;
precache.js tells the service worker what to keep on the device.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesr import __version__
from edgesr.artifact import MANIFEST, file_sha256
from edgesr.bundles import notices, web_build
from edgesr.bundles.contents import Packed
from edgesr.bundles.options import Options
from edgesr.listener import Listener

TARGETS = ("onnxruntime", "tflite")
MARKER = "www/bundle.json"
SCHEMA = 1
APP_FILES = {"onnxruntime": "onnx_", "tflite": "litert_"}
"""How the scripts of the app begin that only one runtime needs."""
NOT_SERVED = (web_build.DONE, "noble-hashes.LICENSE")

README = """\
# {title}

A page that enlarges photos with {models}. It runs in the browser, on the device alone: no photo is sent anywhere.

1. Serve the folder `www`, here with Python: `python3 -m http.server --bind 127.0.0.1 --directory www 8000`
2. Open http://127.0.0.1:8000 in Chrome, Edge, Firefox or Safari. After this first load it works offline.
3. Choose a photo, press "Enlarge", save the result.

For phones, copy `www` to any static host that serves https, open its address and choose "Add to home screen". The page
adds the headers that threads need by itself. Over plain http, other than on the machine itself, browsers allow no
threads, no GPU and no offline use.

| artifact | file | sha256 |
|---|---|---|
{rows}

Licences and notices, those of the model included: `www/NOTICE.txt`.
"""


def prepare(packed: Sequence[Packed], options: Options, listener: Listener) -> Callable[[Path], None]:
    """Build the app; the result writes the bundle into an empty folder."""
    app = web_build.built(listener)
    return lambda folder: _write(packed, app, folder)


def _write(packed: Sequence[Packed], app: Path, folder: Path) -> None:
    write_site(packed, app, folder / "www")
    _write_text(folder / "README.md", _readme(packed))


def write_site(packed: Sequence[Packed], app: Path, www: Path) -> None:
    """The static site into `www`. `app`: what web_build.built gave."""
    build = json.loads((app / web_build.DONE).read_text("utf-8"))
    targets = {item.manifest.request.target for item in packed}
    _copy_app(app, www, targets, build["runtimes"])
    for item in packed:
        _write_files(www / "models" / item.manifest.slug, item.files)
    _write_json(www / "bundle.json", _bundle_facts(packed))
    noble = (app / "noble-hashes.LICENSE").read_text("utf-8")
    notice = notices.text(
        [item.manifest for item in packed], build["versions"], noble, web_build.sources() / "licences"
    )
    _write_text(www / "NOTICE.txt", f"\ufeff{notice}")  # a mark of UTF-8: hosts tell no charset of a .txt
    _write_text(www / "precache.js", _precache(www, packed, build["runtimes"]))


def _copy_app(app: Path, www: Path, targets: set[str], runtimes: Mapping[str, Any]) -> None:
    """Everything but what only absent targets need."""
    absent = runtimes.keys() - targets
    unneeded = {name for target in absent for name in _runtime_files(runtimes[target])}
    prefixes = tuple(APP_FILES[target] for target in absent)
    for path in sorted(app.rglob("*")):
        relative = path.relative_to(app)
        skipped = path.is_dir() or path.name in unneeded or path.name in NOT_SERVED
        if skipped or (relative.parts[0] == "app" and prefixes and path.name.startswith(prefixes)):
            continue
        (www / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, www / relative)


def _runtime_files(runtime: Mapping[str, Any]) -> list[str]:
    return [*runtime["now"], *runtime["later"]]


def _bundle_facts(packed: Sequence[Packed]) -> dict[str, Any]:
    models = [
        {
            "path": f"models/{item.manifest.slug}",
            "manifest_sha256": hashlib.sha256(item.files[MANIFEST]).hexdigest(),
        }
        for item in packed
    ]
    return {"schema": SCHEMA, "edgesr": __version__, "models": models}


def _precache(www: Path, packed: Sequence[Packed], runtimes: Mapping[str, Any]) -> str:
    """`files` are kept at once, `later` when first used; the version changes with any of them."""
    hashes = {path.relative_to(www).as_posix(): file_sha256(path) for path in sorted(www.rglob("*")) if path.is_file()}
    later = [f"runtime/{name}" for runtime in runtimes.values() for name in runtime["later"]]
    unused = {name for item in packed for name in _unused(item)} | {"sw.js"}
    version = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    facts = {
        "version": version[:16],
        "files": [name for name in hashes if name not in unused and name not in later],
        "later": [name for name in later if name in hashes],
    }
    return f"self.EDGESR_PRECACHE = {json.dumps(facts, indent=1)};\n"


def _unused(item: Packed) -> list[str]:
    """What the page does not open: an ONNX artifact's form for mobile builds."""
    manifest = item.manifest
    used = {MANIFEST, *(item.files if manifest.request.target == "tflite" else [manifest.main])}
    return [f"models/{manifest.slug}/{name}" for name in item.files if name not in used]


def _readme(packed: Sequence[Packed]) -> str:
    names = sorted({f"{item.manifest.request.model} x{item.manifest.scale}" for item in packed})
    rows = [
        f"| {item.manifest.slug} | {entry.name} | {entry.sha256} |" for item in packed for entry in item.manifest.files
    ]
    return README.format(title=f"edgesr: {', '.join(names)}", models=" and ".join(names), rows="\n".join(rows))


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _write_json(file: Path, value: Any) -> None:
    _write_text(file, json.dumps(value, indent=1, sort_keys=True) + "\n")


def _write_text(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
