"""Ready sample apps around artifacts: a folder per platform that runs as it is, with its licences and a README.

    read (hashes, targets) -> build the app from its sources -> put both into one folder, whole or not at all

The same artifacts give the same bytes, whoever makes them and where.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from edgesr.artifact import building, file_entries
from edgesr.bundles import android, android_studio, board, ios, web
from edgesr.bundles.contents import Packed, read_packed
from edgesr.bundles.options import Options
from edgesr.errors import OutputError, UnknownName, Unsupported, UsageError
from edgesr.listener import Listener, Silent

DEFAULT_MAX_MB = 500.0
"""Static hosts and app stores take some hundred MB; a mistake (a network of 40 million parameters in five precisions)
is told before it is uploaded."""
_BYTES_PER_MB = 1_000_000
LISTING = "edgesr-files.sha256"
"""In a project: what was written, as `sha256sum -c` reads it."""


@dataclass(frozen=True, slots=True)
class Platform:
    """`targets`: whose artifacts it runs. `prepare` builds the app, which may take a while, and returns what writes
    the bundle: (artifacts, options, listener) to (folder) to nothing. `marker`: a file that every bundle of it has.
    `options`: names of those that it takes. `edited`: it is a project for people to work on, so what they did there is
    not replaced."""

    targets: tuple[str, ...]
    prepare: Callable[[Sequence[Packed], Options, Listener], Callable[[Path], None]]
    marker: str
    options: frozenset[str] = frozenset()
    edited: bool = False


_BOARD = frozenset({"offline", "wheels", "python"})
PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        "web": Platform(web.TARGETS, web.prepare, web.MARKER),
        "android": Platform(android.TARGETS, android.prepare, android.MARKER, frozenset({"keystore", "key_alias"})),
        "android-studio": Platform(android_studio.TARGETS, android_studio.prepare, android_studio.MARKER, edited=True),
        "ios": Platform(ios.TARGETS, ios.prepare, ios.MARKER, edited=True),
        **{
            kind.name: Platform(kind.targets, partial(board.prepare, kind), board.marker(kind), _BOARD)
            for kind in (board.RPI, board.JETSON)
        },
    }
)


@dataclass(frozen=True, slots=True)
class Bundled:
    """`files`, `bytes`: of the whole folder."""

    platform: str
    out: str
    artifacts: tuple[str, ...]
    files: int
    bytes: int


def bundle(
    artifacts: Sequence[Path],
    platform: str,
    out: Path,
    *,
    options: Options | None = None,
    max_mb: float = DEFAULT_MAX_MB,
    force: bool = False,
    listener: Listener | None = None,
) -> Bundled:
    """Make `out`, the app of `platform` with `artifacts`; an older bundle there is replaced, a project that was worked
    on only with `force`.

    Raises UnknownName, UsageError (an option of another platform), Unsupported (an artifact that the platform does not
    run, two with one name, more than `max_mb`), ArtifactError (damaged), MissingTool, BundleError (the app cannot be
    built), OutputError.
    """
    if platform not in PLATFORMS:
        raise UnknownName("platform", platform, PLATFORMS)
    kind, options = PLATFORMS[platform], options or Options()
    _check_options(platform, options)
    packed = [read_packed(folder, platform, kind.targets) for folder in artifacts]
    _check_names(packed)
    _check_place(out, kind.marker)
    if kind.edited and not force:
        _check_unchanged(out)
    write = kind.prepare(packed, options, listener or Silent())
    with building(out) as folder:
        write(folder)
        if kind.edited:
            (folder / LISTING).write_text(_listing(folder), encoding="utf-8")
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        if size > max_mb * _BYTES_PER_MB:
            raise Unsupported(
                f"The bundle would have {size / _BYTES_PER_MB:.0f} MB, more than the {max_mb:g} MB allowed. Leave an "
                f"artifact out, or raise the limit: --max-mb {size // _BYTES_PER_MB + 1}."
            )
    return Bundled(platform, str(out), tuple(item.manifest.slug for item in packed), len(files), size)


def _check_options(platform: str, options: Options) -> None:
    foreign = sorted(options.given() - PLATFORMS[platform].options)
    if foreign:
        takers = [name for name, kind in PLATFORMS.items() if foreign[0] in kind.options]
        raise UsageError(f"--{foreign[0].replace('_', '-')} is for {' and '.join(takers)}, not for {platform}.")


def _check_names(packed: Sequence[Packed]) -> None:
    seen: dict[str, Path] = {}
    for item in packed:
        other = seen.setdefault(item.manifest.slug, item.folder)
        if other != item.folder:
            raise Unsupported(
                f"{other} and {item.folder} are both {item.manifest.slug}. A bundle has each artifact once: leave one "
                "out."
            )


def _check_place(out: Path, marker: str) -> None:
    """Never replace a folder that is not a bundle."""
    if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        raise OutputError(
            f"Cannot write {out}: it is not empty and no bundle of this kind ({marker} is missing). Choose another "
            "folder with -o."
        )


def _listing(folder: Path) -> str:
    return "".join(f"{entry.sha256}  {entry.name}\n" for entry in file_entries(folder) if entry.name != LISTING)


def _check_unchanged(out: Path) -> None:
    """Never replace what people did in a project. Raises OutputError that names a file."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    written = set((out / LISTING).read_text(encoding="utf-8").splitlines()) if (out / LISTING).is_file() else set()
    changed = [line.partition("  ")[2] for line in written.symmetric_difference(_listing(out).splitlines())]
    if changed:
        more = f" and {len(set(changed)) - 1} more" if len(set(changed)) > 1 else ""
        raise OutputError(
            f"{out} was changed since it was made ({min(changed)}{more}); replacing it would lose that. Choose another "
            "folder with -o, or replace it with --force."
        )
