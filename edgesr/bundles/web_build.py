"""Builds the web app from the sources that come with the package, once: what was built is kept in the user's cache.

The sources are shipped rather than the result because the runtimes' WebAssembly (60 MB) does not belong into a Python
package. npm fetches them, pinned by version and integrity hash in package-lock.json.
"""

import hashlib
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from edgesr.artifact import building
from edgesr.bundles.tools import need, run
from edgesr.errors import BundleError
from edgesr.listener import Listener

SOURCES = ("package.json", "package-lock.json", ".npmrc", "build.mjs", "tsconfig.json", "public", "src", "licences")
"""Of apps/web: what the app is made of."""
DONE = "build.json"
INSTALL_TIMEOUT_S = 900
BUILD_TIMEOUT_S = 300
PURPOSE = "builds the web app"


def built(listener: Listener) -> Path:
    """The folder of the built app; builds it if these sources were not built before.

    Raises MissingTool (node, npm) and BundleError.
    """
    place = build_folder()
    if (place / DONE).is_file():
        return place
    node, npm = need("node", PURPOSE), need("npm", PURPOSE)
    listener.say("Building the web app: npm fetches its pinned packages (once) ...")
    with tempfile.TemporaryDirectory(prefix="edgesr-web-") as name, building(place) as out:
        work = Path(name)
        _copy_sources(work)
        run(
            [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"],
            work,
            INSTALL_TIMEOUT_S,
            "Is the npm registry within reach?",
        )
        run([node, "build.mjs", str(out)], work, BUILD_TIMEOUT_S, "Try again; if it stays, report it.")
    return place


def build_folder() -> Path:
    """Where the app lies once it is built from these sources: in the user's cache."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgesr")) / "apps" / f"web-{_fingerprint(sources())[:16]}"


def sources() -> Path:
    """apps/web as it was installed. Raises BundleError if the installation has lost it."""
    folder = Path(str(resources.files("edgesr.apps"))) / "web"
    missing = [name for name in SOURCES if not (folder / name).exists()]
    if missing:
        raise BundleError(
            f"The app's sources are incomplete: {', '.join(missing)} not in {folder}. Install edgesr again."
        )
    return folder


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        place = folder / name
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _copy_sources(work: Path) -> None:
    for name in SOURCES:
        place = sources() / name
        if place.is_dir():
            shutil.copytree(place, work / name)
        else:
            shutil.copyfile(place, work / name)
