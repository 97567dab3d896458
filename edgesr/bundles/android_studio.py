"""The bundle for Android Studio: a Gradle project of a native app, with the artifacts in its assets.

    settings.gradle.kts ...   core/ (Java)   app/ (Kotlin)   app/src/main/assets/models/SLUG/   README.md   NOTICE.txt

Gradle fetches the runtimes of the artifacts when the project is built; nothing is built here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from edgesr import __version__
from edgesr.artifact import MANIFEST
from edgesr.bundles import notices
from edgesr.bundles.contents import Packed, check_float
from edgesr.bundles.options import Options
from edgesr.errors import BundleError
from edgesr.listener import Listener


@dataclass(frozen=True, slots=True)
class Library:
    """A runtime of the app. `kotlin`: its object, in a file of that name. `maven`: group and name. `licences`: of what
    Gradle fetches for it."""

    title: str
    kotlin: str
    maven: str
    licences: str


LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        "onnxruntime": Library(
            *("ONNX Runtime", "OnnxRuntime", "com.microsoft.onnxruntime:onnxruntime-android"),
            "ONNX Runtime for Android (MIT, Microsoft)",
        ),
        "tflite": Library(*("LiteRT", "LiteRt", "com.google.ai.edge.litert:litert"), "LiteRT (Apache-2.0, Google)"),
        "executorch": Library(
            *("ExecuTorch", "ExecuTorch", "org.pytorch:executorch-android"),
            "ExecuTorch for Android (BSD-3-Clause, Meta), fbjni and SoLoader (Apache-2.0, Meta), androidx.core "
            "(Apache-2.0, Google)",
        ),
    }
)
TARGETS = tuple(LIBRARIES)
MARKER = "settings.gradle.kts"
SOURCES = "android/native"
ASSETS = "app/src/main/assets"
KEPT = (".kts", ".properties", ".java", ".kt", ".xml")
NAMING = ("InferenceRuntimes.kt", "build.gradle.kts")
"""Files with a line for every library."""
ALWAYS_FETCHED = (
    "androidx.exifinterface (Apache-2.0, Google)",
    "the Kotlin standard library (Apache-2.0, JetBrains)",
)


def prepare(packed: Sequence[Packed], options: Options, listener: Listener) -> Callable[[Path], None]:
    """Check what the app cannot use; the result writes the project into an empty folder."""
    check_float(packed, {"tflite": "NHWC"})
    return lambda folder: _write(packed, folder)


def _write(packed: Sequence[Packed], folder: Path) -> None:
    targets = {item.manifest.request.target for item in packed}
    _copy_sources(folder, [library for target, library in LIBRARIES.items() if target not in targets])
    fetched = [*(LIBRARIES[target].licences for target in TARGETS if target in targets), *ALWAYS_FETCHED]
    words = f"Gradle fetches these when the project is built, each under its own licence: {', '.join(fetched)}.\n"
    parts = [*notices.own("The app (edgesr)", [item.manifest for item in packed]), ("Libraries", words)]
    notice = notices.joined(parts).encode()
    for item in packed:
        for name in (MANIFEST, *_opened(item)):
            _put(folder / ASSETS / "models" / item.manifest.slug / name, item.files[name])
    _put(folder / ASSETS / "NOTICE.txt", notice)
    _put(folder / "NOTICE.txt", notice)
    _put(folder / "README.md", _readme(packed).encode())


def _opened(item: Packed) -> list[str]:
    """Names of the files that the app opens: the main one, or one for each of several sizes."""
    return [entry.name for entry in item.manifest.files if entry.name.endswith(Path(item.manifest.main).suffix)]


def _copy_sources(folder: Path, unused: Sequence[Library]) -> None:
    """All but `unused`. Raises BundleError if the installation has lost them."""
    left_out = {f"{library.kotlin}.kt" for library in unused}
    source = Path(str(resources.files("edgesr.apps"))) / SOURCES
    if not (source / MARKER).is_file():
        raise BundleError(f"The app's sources are incomplete in {source}. Install edgesr again.")
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        # What Gradle leaves behind is none of its sources.
        is_made = any(part == "build" or part.startswith(".") for part in relative.parts)
        if path.is_file() and path.suffix in KEPT and path.name not in left_out and not is_made:
            text = path.read_text(encoding="utf-8").replace("@VERSION@", __version__)
            text = _without(text, unused) if path.name in NAMING else text
            _put(folder / relative, text.encode())


def _without(text: str, unused: Sequence[Library]) -> str:
    """`text` without the lines that name them."""
    names = [name for library in unused for name in (f" to {library.kotlin},", f"{library.maven}:")]
    return "".join(line for line in text.splitlines(keepends=True) if not any(name in line for name in names))


README = """\
# {title}

A native Android app (Android 9 or newer) that enlarges photos with {models} in {runtimes}, on the phone alone.

1. Open this folder in Android Studio (2024.2 or newer) and let it fetch Gradle and the libraries.
2. Connect a phone with USB debugging on.
3. Press Run. In the app: choose a photo, press "Enlarge", save the result.

This project was made without the Android SDK: the logic in `core` is compiled and tested on a JVM, the Kotlin around
the runtimes was compiled against stubs of them and the rest read by a parser; nothing of it was built with Gradle or
run on a phone.

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
        if entry.name in _opened(item)
    ]
    targets = {item.manifest.request.target for item in packed}
    runtimes = " and ".join(library.title for target, library in LIBRARIES.items() if target in targets)
    title = f"edgesr: {', '.join(names)}"
    return README.format(title=title, models=" and ".join(names), runtimes=runtimes, rows="\n".join(rows))


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
