"""The runner of this kit as one wheel: the modules that travel to a device, found by walking their imports."""

import ast
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import edgesr

PACKAGE = "edgesr.runner"
THIRD_PARTY: Mapping[str, str] = MappingProxyType(
    {
        "numpy": "numpy>=1.26,<3",
        "PIL": "pillow>=11,<14",
        "psutil": "psutil>=6,<8",
        "pydantic": "pydantic>=2.8,<3",
        "waitress": "waitress>=3,<4",
    }
)
"""What a module that travels may import besides the standard library and its runtime -> the requirement for pip."""
EPOCH = (2020, 1, 1, 0, 0, 0)
"""Date of every file in the wheel, so that the same code makes the same bytes."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`files`: name in the wheel -> source; `requirements`: of THIRD_PARTY what they import; `digest`: of all files."""

    files: Mapping[str, bytes]
    requirements: tuple[str, ...]
    digest: str

    @property
    def wheel_name(self) -> str:
        return f"edgesr_runner-{edgesr.__version__}+{self.digest}-py3-none-any.whl"


def runner_bundle(*more: str) -> Bundle:
    """Every module of `edgesr.runner` and of the packages `more`, and what these import of `edgesr`."""
    root = Path(edgesr.__file__).parent.parent
    waiting = [name for package in (PACKAGE, *more) for name in _modules(root, root / package.replace(".", "/"))]
    files: dict[str, bytes] = {}
    imported: set[str] = set()
    while waiting:
        file = _file(root, waiting.pop())
        name = str(file.relative_to(root).as_posix()) if file else ""
        if file is None or name in files:
            continue
        files[name] = file.read_bytes()
        found = set(_imports(ast.parse(files[name])))
        waiting.extend(one for one in found if one.split(".")[0] == "edgesr")
        imported |= {one.split(".")[0] for one in found}
    digest = hashlib.sha256(b"\0".join(name.encode() + b"\0" + files[name] for name in sorted(files))).hexdigest()[:12]
    return Bundle(files, tuple(line for top, line in THIRD_PARTY.items() if top in imported), digest)


def write_wheel(bundle: Bundle, folder: Path) -> Path:
    """A zip with the name of a wheel, unpacked on the device like every other."""
    wheel = folder / bundle.wheel_name
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(bundle.files):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), bundle.files[name], zipfile.ZIP_DEFLATED)
    return wheel


def _modules(root: Path, folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*.py")):
        yield ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _file(root: Path, module: str) -> Path | None:
    """Source of `module`; None for a name inside a module (`from edgesr.errors import UsageError`)."""
    path = root.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _imports(tree: ast.Module) -> Iterator[str]:
    """Every name that could be a module, with the packages above it; also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
