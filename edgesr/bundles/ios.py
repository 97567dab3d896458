"""The iOS bundle: an Xcode project with the app of apps/ios, the artifacts in its resources, to be opened on a Mac.

    edgesr.xcodeproj   App/   EdgeSRKit/   models/SLUG/   README.md   NOTICE.txt

The artifacts are a folder of resources and not sources, so that Xcode copies them as they are: the app checks their
hashes before a runtime opens them.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from edgesr import __version__
from edgesr.bundles import notices, xcode
from edgesr.bundles.contents import Packed, check_float
from edgesr.bundles.options import Options
from edgesr.errors import BundleError
from edgesr.listener import Listener

TARGETS = ("coreml", "executorch")
EXECUTORCH = xcode.Remote(
    "https://github.com/pytorch/executorch",
    "swiftpm-1.4.1",
    ("executorch", "backend_xnnpack", "kernels_optimized", "kernels_quantized"),
)
"""Of the release that the artifacts are made with. Xcode fetches it when the project is opened."""
FETCHED = "Xcode fetches ExecuTorch (BSD-3-Clause, Meta) when the project is opened.\n"
PROJECT = "edgesr.xcodeproj"
MARKER = f"{PROJECT}/project.pbxproj"
APP, PACKAGE, MODELS = "App", "EdgeSRKit", "models"
LEAST_IOS = "17.0"
RESOURCES = ("Assets.xcassets", "PrivacyInfo.xcprivacy", "NOTICE.txt")
KEPT = (".swift", ".plist", ".xcprivacy", ".json")
ENGINE = "ExecuTorchTiles.swift"
NAMING = ("Runtimes.swift", " execuTorch,")
"""The file that names the engine, and what is in that line."""


def prepare(packed: Sequence[Packed], options: Options, listener: Listener) -> Callable[[Path], None]:
    """Check what the app cannot use; the result writes the project into an empty folder."""
    check_float(packed)
    return lambda folder: _write(packed, folder)


def _write(packed: Sequence[Packed], folder: Path) -> None:
    fetched = any(item.manifest.request.target == "executorch" for item in packed)
    sources = _copy_sources(folder, executorch=fetched)
    parts = notices.own("The app (edgesr)", [item.manifest for item in packed])
    notice = notices.joined([*parts, *([("Libraries", FETCHED)] if fetched else [])])
    for item in packed:
        for name, content in item.files.items():
            _put(folder / MODELS / item.manifest.slug / name, content)
    _put(folder / APP / "NOTICE.txt", notice.encode())
    _put(folder / "NOTICE.txt", notice.encode())
    _put(folder / "README.md", _readme(packed).encode())
    _put(folder / MARKER, xcode.project(_app(sources, executorch=fetched)).encode())


def _copy_sources(folder: Path, *, executorch: bool) -> tuple[str, ...]:
    """Names of the app's Swift files. Raises BundleError if the installation has lost them."""
    source = Path(str(resources.files("edgesr.apps"))) / "ios"
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        # What building the package leaves behind is none of its sources.
        is_source = path.is_file() and path.suffix in KEPT and not any(part.startswith(".") for part in relative.parts)
        if is_source and (executorch or path.name != ENGINE):
            content = path.read_bytes()
            _put(folder / relative, content if executorch else _without_engine(path.name, content))
    found = tuple(path.name for path in sorted((folder / APP).glob("*.swift")))
    if not found or not (folder / PACKAGE / "Package.swift").is_file():
        raise BundleError(f"The app's sources are incomplete in {source}. Install edgesr again.")
    return found


def _without_engine(name: str, content: bytes) -> bytes:
    file, naming = NAMING
    if name != file:
        return content
    return b"".join(line for line in content.splitlines(keepends=True) if naming.encode() not in line)


def _app(sources: tuple[str, ...], *, executorch: bool) -> xcode.App:
    # Kernels and delegates register themselves: the linker must not drop what nothing calls.
    linked: Mapping[str, xcode.Value] = {"OTHER_LDFLAGS": ["$(inherited)", "-all_load"]} if executorch else {}
    return xcode.App(
        name="edgesr",
        folder=APP,
        sources=sources,
        resources=RESOURCES,
        others=("Info.plist",),
        folders=(MODELS,),
        package=PACKAGE,
        settings={
            "ASSETCATALOG_COMPILER_APPICON_NAME": "AppIcon",
            "ASSETCATALOG_COMPILER_GLOBAL_ACCENT_COLOR_NAME": "AccentColor",
            "CODE_SIGN_STYLE": "Automatic",
            "CURRENT_PROJECT_VERSION": "1",
            "GENERATE_INFOPLIST_FILE": "NO",
            "INFOPLIST_FILE": f"{APP}/Info.plist",
            "IPHONEOS_DEPLOYMENT_TARGET": LEAST_IOS,
            "LD_RUNPATH_SEARCH_PATHS": ["$(inherited)", "@executable_path/Frameworks"],
            "MARKETING_VERSION": __version__,
            "PRODUCT_BUNDLE_IDENTIFIER": "org.edgesr.sample",
            "PRODUCT_NAME": "$(TARGET_NAME)",
            "TARGETED_DEVICE_FAMILY": "1,2",
            **linked,
        },
        remotes=(EXECUTORCH,) if executorch else (),
    )


README = """\
# {title}

An app for iPhone and iPad (iOS 17 or newer) that enlarges photos with {models} in {runtimes}, on the device alone.

1. On a Mac with Xcode 15 or newer, open `edgesr.xcodeproj`.
2. Select the target "edgesr", "Signing & Capabilities", and choose your team; change the bundle identifier if it is
   taken.
3. Choose your device above and press Run. In the app: choose a photo, press "Enlarge", save or share the result.

This project was made without a Mac: its parts were checked by parsers, and the logic in `EdgeSRKit` is tested
(`swift test` in that folder), but it was never built with Xcode nor run on a device, and no package was fetched.

| artifact | file | sha256 |
|---|---|---|
{rows}

Licences and notices, those of the model included: NOTICE.txt, also in the app under "About".
"""


def _readme(packed: Sequence[Packed]) -> str:
    names = sorted({f"{item.manifest.request.model} x{item.manifest.scale}" for item in packed})
    rows = [
        f"| {item.manifest.slug} | {entry.name} | {entry.sha256} |" for item in packed for entry in item.manifest.files
    ]
    targets = {item.manifest.request.target for item in packed}
    titles = {"coreml": "Core ML", "executorch": "ExecuTorch (which Xcode fetches)"}
    runtimes = " and ".join(title for target, title in titles.items() if target in targets)
    title = f"edgesr: {', '.join(names)}"
    return README.format(title=title, models=" and ".join(names), runtimes=runtimes, rows="\n".join(rows))


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
