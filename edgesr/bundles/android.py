"""The Android bundle: an APK, the web app in a window of its own, built with Debian's packages alone.

    AndroidManifest.xml, res  --aapt-->  binary forms   \\
    smali                     --smali->  classes.dex     } one zip --zipalign--> --apksigner--> edgesr.apk
    the web app, artifacts           ->  assets/www     /

The classes are kept as assembly beside the Java that they were compiled from (assemble_smali.sh), because current
releases of Debian have no compiler from Java to dex. The app asks for no permission, so Android itself keeps it off the
network.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgesr import __version__
from edgesr.bundles import signing, web, web_build
from edgesr.bundles.contents import Packed
from edgesr.bundles.options import Options
from edgesr.bundles.tools import need, run
from edgesr.errors import BundleError
from edgesr.listener import Listener

TARGETS = web.TARGETS
MARKER = "edgesr.apk"
PURPOSE = "builds the Android app"
SHELL = "android/shell"
MADE_FROM = "smali/made_from"
LEAST_API = 24
STEP_S = 300.0
EPOCH = (2020, 1, 1, 0, 0, 0)
"""Date of every file in the APK, so that equal files are equal bytes."""
STORED = (".arsc", ".png")
"""Not compressed: Android 11 maps resources.arsc as it lies in the file."""
NOT_IN_APP = ("sw.js", "precache.js")
"""The service worker keeps a site for use without a network; an app is whole."""
SMALI_JARS = ("smali", "smali-util", "dexlib2", "antlr3-runtime", "guava", "jcommander", "stringtemplate")
ADVICE = "Try again; if it stays, report it."
UNSAFE = "the APK that was built is not sound"


@dataclass(frozen=True, slots=True)
class _Tools:
    java: str
    aapt: str
    zipalign: str
    apksigner: str
    smali: str
    framework: str


def prepare(packed: Sequence[Packed], options: Options, listener: Listener) -> Callable[[Path], None]:
    """Look for the tools, the key and the web app; the result builds the APK."""
    names = ("java", "aapt", "zipalign", "apksigner", "smali", "android-framework-res")
    tools = _Tools(*(need(name, PURPOSE) for name in names))
    key = signing.key(options.keystore, options.key_alias)
    app = web_build.built(listener)
    listener.say(f"Building the APK, signed with {key.words} ...")
    return lambda folder: _write(packed, app, tools, key, folder)


def _write(packed: Sequence[Packed], app: Path, tools: _Tools, key: signing.Key, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="edgesr-android-") as name:
        work = Path(name)
        web.write_site(packed, app, work / "www")
        _copy_shell(work / "shell")
        files = {**_compiled(tools, work), "classes.dex": _dex(tools, work), **dict(_assets(work / "www"))}
        write_zip(work / "whole.apk", files)
        run([tools.zipalign, "-p", "4", "whole.apk", "aligned.apk"], work, STEP_S, ADVICE)
        key.sign(tools.apksigner, work / "aligned.apk", work / MARKER, LEAST_API)
        _check(tools, work)
        (folder / MARKER).write_bytes((work / MARKER).read_bytes())
        (folder / "NOTICE.txt").write_bytes((work / "www" / "NOTICE.txt").read_bytes())
    (folder / "README.md").write_bytes(_readme(packed, key, folder / MARKER).encode())


def _copy_shell(place: Path) -> None:
    """The shell's sources with this version. Raises BundleError if the installation has lost them, or if somebody has
    changed the Java and not assembled it again."""
    shell = Path(str(resources.files("edgesr.apps"))) / SHELL
    if not (shell / MADE_FROM).is_file():
        raise BundleError(f"The app's sources are incomplete: {MADE_FROM} is not in {shell}. Install edgesr again.")
    java = b"".join(path.read_bytes() for path in sorted((shell / "java").rglob("*.java")))
    if hashlib.sha256(java).hexdigest() != (shell / MADE_FROM).read_text("utf-8").strip():
        raise BundleError(f"{shell / 'smali'} was not made from {shell / 'java'}. Run {shell / 'assemble_smali.sh'}.")
    for path in sorted(shell.rglob("*")):
        if path.suffix in (".xml", ".smali"):
            target = place / path.relative_to(shell)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes().replace(b"@VERSION@", __version__.encode()))


def _compiled(tools: _Tools, work: Path) -> dict[str, bytes]:
    """Manifest and resources as Android reads them."""
    command = [tools.aapt, "package", "-f", "-M", "shell/AndroidManifest.xml", "-S", "shell/res"]
    run([*command, "-I", tools.framework, "-F", "compiled.apk"], work, STEP_S, ADVICE)
    with zipfile.ZipFile(work / "compiled.apk") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _dex(tools: _Tools, work: Path) -> bytes:
    jars = os.pathsep.join(str(Path(tools.smali).with_name(f"{name}.jar")) for name in SMALI_JARS)
    command = [tools.java, "-cp", jars, "org.jf.smali.Main", "assemble", "--api", str(LEAST_API), "--jobs", "1"]
    # One job and files in order: else the file differs from time to time.
    classes = sorted(path.relative_to(work).as_posix() for path in (work / "shell" / "smali").rglob("*.smali"))
    run([*command, "--output", "classes.dex", *classes], work, STEP_S, ADVICE)
    return (work / "classes.dex").read_bytes()


def _assets(www: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(www.rglob("*")):
        name = path.relative_to(www).as_posix()
        if path.is_file() and name not in NOT_IN_APP:
            yield f"assets/www/{name}", path.read_bytes()


def write_zip(file: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, EPOCH)
            kind = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name], kind)


def _check(tools: _Tools, work: Path) -> None:
    """Raises BundleError unless it is aligned, its signature holds, and it asks for no permission."""
    run([tools.zipalign, "-c", "-p", "4", MARKER], work, STEP_S, UNSAFE)
    verify = [tools.apksigner, "verify", "--min-sdk-version", str(LEAST_API), MARKER]
    run(verify, work, STEP_S, UNSAFE)
    said = run([tools.aapt, "dump", "badging", MARKER], work, STEP_S, UNSAFE)
    if "uses-permission" in said or "launchable-activity" not in said:
        raise BundleError(f"{UNSAFE}: it asks for permissions or cannot be started.\n{said}")


README = """\
# {title}

An Android app (Android 7 or newer) that enlarges photos with {models} on the phone alone. It has no permission, not
even that for the network.

1. Copy `edgesr.apk` to the phone, or with a cable and USB debugging on: `adb install edgesr.apk`
2. Open it there and allow this once to install from an unknown source.
3. Choose a photo, press "Enlarge", save or share the result.

It is the page of `edgesr bundle --platform web` in a window of its own, on the phone's WebView (keep "Android System
WebView" up to date), on one thread: WebViews give pages no more.

Signed with {key}. {advice}

| file | sha256 |
|---|---|
| edgesr.apk | {apk} |
{rows}

Licences and notices, those of the model included: NOTICE.txt, also in the app under "About".
"""
DEBUG = (
    "An app signed with another key, as by another computer's edgesr, cannot replace it: uninstall the old one first. "
    "To publish, make the bundle with `--keystore`."
)
RELEASE = "Keep that key: updates need it."


def _readme(packed: Sequence[Packed], key: signing.Key, apk: Path) -> str:
    names = sorted({f"{item.manifest.request.model} x{item.manifest.scale}" for item in packed})
    rows = [
        f"| models/{item.manifest.slug}/{entry.name} | {entry.sha256} |"
        for item in packed
        for entry in item.manifest.files
    ]
    return README.format(
        title=f"edgesr: {', '.join(names)}",
        models=" and ".join(names),
        key=key.words,
        advice=DEBUG if key.is_debug else RELEASE,
        apk=hashlib.sha256(apk.read_bytes()).hexdigest(),
        rows="\n".join(rows),
    )
