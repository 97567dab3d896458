"""The bundle for Android Studio: a Gradle project of a native app, with the artifacts in its assets.

    settings.gradle.kts ...   core/ (Java)   app/ (Kotlin)   app/src/main/assets/models/SLUG/   README.md   NOTICE.txt

Gradle fetches ONNX Runtime when the project is built; nothing is built here.
"""

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from edgesr import __version__
from edgesr.bundles import notices
from edgesr.bundles.contents import Packed, check_float
from edgesr.bundles.options import Options
from edgesr.errors import BundleError
from edgesr.listener import Listener

TARGETS = ("onnxruntime",)
MARKER = "settings.gradle.kts"
SOURCES = "android/native"
ASSETS = "app/src/main/assets"
KEPT = (".kts", ".properties", ".java", ".kt", ".xml")
FETCHED = """\
Gradle fetches these when the project is built, each under its own licence: ONNX Runtime for Android (MIT, Microsoft),
androidx.exifinterface (Apache-2.0, Google), the Kotlin standard library (Apache-2.0, JetBrains).
"""


def prepare(packed: Sequence[Packed], options: Options, listener: Listener) -> Callable[[Path], None]:
    """Check what the app cannot use; the result writes the project into an empty folder."""
    check_float(packed)
    return lambda folder: _write(packed, folder)


def _write(packed: Sequence[Packed], folder: Path) -> None:
    _copy_sources(folder)
    parts = [*notices.own("The app (edgesr)", [item.manifest for item in packed]), ("Libraries", FETCHED)]
    notice = notices.joined(parts).encode()
    for item in packed:
        for name in ("manifest.json", item.manifest.main):
            _put(folder / ASSETS / "models" / item.manifest.slug / name, item.files[name])
    _put(folder / ASSETS / "NOTICE.txt", notice)
    _put(folder / "NOTICE.txt", notice)
    _put(folder / "README.md", _readme(packed).encode())


def _copy_sources(folder: Path) -> None:
    """Raises BundleError if the installation has lost them."""
    source = Path(str(resources.files("edgesr.apps"))) / SOURCES
    if not (source / MARKER).is_file():
        raise BundleError(f"The app's sources are incomplete in {source}. Install edgesr again.")
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        # What Gradle leaves behind is none of its sources.
        is_made = any(part == "build" or part.startswith(".") for part in relative.parts)
        if path.is_file() and path.suffix in KEPT and not is_made:
            _put(folder / relative, path.read_bytes().replace(b"@VERSION@", __version__.encode()))


README = """\
# {title}

A native Android app (Android 9 or newer) that enlarges photos with {models} in ONNX Runtime, on the phone alone.

1. Open this folder in Android Studio (2024.2 or newer) and let it fetch Gradle and the libraries.
2. Connect a phone with USB debugging on.
3. Press Run. In the app: choose a photo, press "Enlarge", save the result.

This project was made without the Android SDK: the logic in `core` is compiled and tested on a JVM, the Kotlin was read
by a parser, and nothing of it was built with Gradle or run on a phone.

| artifact | file | sha256 |
|---|---|---|
{rows}

Licences and notices, those of the model included: NOTICE.txt, also in the app.
"""


def _readme(packed: Sequence[Packed]) -> str:
    names = sorted({f"{item.manifest.request.model} x{item.manifest.scale}" for item in packed})
    rows = [
        f"| {item.manifest.slug} | {entry.name} | {entry.sha256} |"
        for item in packed
        for entry in item.manifest.files
        if entry.name == item.manifest.main
    ]
    return README.format(title=f"edgesr: {', '.join(names)}", models=" and ".join(names), rows="\n".join(rows))


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
