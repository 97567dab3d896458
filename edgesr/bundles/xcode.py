"""Xcode's project file: a property list of objects that refer to each other by 24 hexadecimal digits.

Written as Xcode 15 does, with a comment after every identifier and a section for every kind, because some readers want
them. Identifiers are hashes of what the objects are, so that equal projects are equal bytes.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OBJECT_VERSION = 60
"""Xcode 15, the first that knows local packages as objects of their own."""
PLAIN = re.compile(r"[A-Za-z0-9_./]+")
TYPES: Mapping[str, str] = {
    ".swift": "sourcecode.swift",
    ".plist": "text.plist.xml",
    ".xcassets": "folder.assetcatalog",
    ".xcprivacy": "text.xml",
    ".txt": "text",
    ".app": "wrapper.application",
    "": "folder",
}


@dataclass(frozen=True, slots=True)
class Ref:
    """An identifier with the comment that stands after it."""

    id: str
    comment: str


Value = str | int | Ref | Sequence["Value"] | Mapping[str, "Value"]


@dataclass(slots=True)
class _Objects:
    """Every object of the project; `add` names one and gives its reference."""

    all: dict[str, tuple[str, str, Mapping[str, Value]]] = field(default_factory=dict)

    def add(self, kind: str, name: str, comment: str, values: Mapping[str, Value]) -> Ref:
        ref = reference(kind, name, comment)
        self.all[ref.id] = (kind, comment, values)
        return ref


def reference(kind: str, name: str, comment: str) -> Ref:
    return Ref(hashlib.sha256(f"{kind}\0{name}".encode()).hexdigest()[:24].upper(), comment)


@dataclass(frozen=True, slots=True)
class Remote:
    """A Swift package that Xcode fetches: the repository's address, a branch, the products that the app links."""

    address: str
    branch: str
    products: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2].removesuffix(".git")


@dataclass(frozen=True, slots=True)
class App:
    """`folder`: of the app's files, beside the project; `sources`, `resources`, `others`: names in it (`others` are
    shown and not built). `folders`: copied as they are, beside the project. `package`: a local Swift package with one
    product of its name. `settings`: of the target. `remotes`: further packages.
    """

    name: str
    folder: str
    sources: tuple[str, ...]
    resources: tuple[str, ...]
    others: tuple[str, ...]
    folders: tuple[str, ...]
    package: str
    settings: Mapping[str, Value]
    remotes: tuple[Remote, ...] = ()


COMMON: Mapping[str, Value] = {
    "ALWAYS_SEARCH_USER_PATHS": "NO",
    "CLANG_ENABLE_MODULES": "YES",
    "ENABLE_USER_SCRIPT_SANDBOXING": "YES",
    "SDKROOT": "iphoneos",
    "SWIFT_VERSION": "5.0",
}
BY_CONFIGURATION: Mapping[str, Mapping[str, Value]] = {
    "Debug": {
        "DEBUG_INFORMATION_FORMAT": "dwarf",
        "ENABLE_TESTABILITY": "YES",
        "ONLY_ACTIVE_ARCH": "YES",
        # Tiles are cut and put together in Swift: unoptimised, that takes longer than the network.
        "SWIFT_OPTIMIZATION_LEVEL": "-O",
    },
    "Release": {"DEBUG_INFORMATION_FORMAT": "dwarf-with-dsym", "SWIFT_COMPILATION_MODE": "wholemodule"},
}


def project(app: App) -> str:
    """The text of project.pbxproj."""
    objects = _Objects()
    product = _file(objects, f"{app.name}.app", {"explicitFileType": TYPES[".app"], "sourceTree": "BUILT_PRODUCTS_DIR"})
    package = objects.add(
        "XCLocalSwiftPackageReference",
        app.package,
        f'XCLocalSwiftPackageReference "{app.package}"',
        {"relativePath": app.package},
    )
    dependencies = [_product(objects, app.package)]
    references = [package]
    for remote in app.remotes:
        fetched = _remote(objects, remote)
        references.append(fetched)
        dependencies += [_product(objects, name, fetched) for name in remote.products]
    target = objects.add(
        "PBXNativeTarget",
        app.name,
        app.name,
        {
            "buildConfigurationList": _configurations(objects, "PBXNativeTarget", app.name, app.settings),
            "buildPhases": _phases(objects, app, dependencies),
            "buildRules": [],
            "dependencies": [],
            "name": app.name,
            "packageProductDependencies": dependencies,
            "productName": app.name,
            "productReference": product,
            "productType": "com.apple.product-type.application",
        },
    )
    root = objects.add(
        "PBXProject",
        app.name,
        "Project object",
        {
            "attributes": {"BuildIndependentTargetsInParallel": 1, "LastUpgradeCheck": 1500},
            "buildConfigurationList": _configurations(objects, "PBXProject", app.name, {}),
            "compatibilityVersion": "Xcode 15.0",
            "developmentRegion": "en",
            "hasScannedForEncodings": 0,
            "knownRegions": ["en", "Base"],
            "mainGroup": _groups(objects, app, product),
            "packageReferences": references,
            "productRefGroup": reference("PBXGroup", "Products", "Products"),
            "projectDirPath": "",
            "projectRoot": "",
            "targets": [target],
        },
    )
    return _text(objects, root)


def _remote(objects: _Objects, remote: Remote) -> Ref:
    values: dict[str, Value] = {
        "repositoryURL": remote.address,
        "requirement": {"branch": remote.branch, "kind": "branch"},
    }
    comment = f'XCRemoteSwiftPackageReference "{remote.name}"'
    return objects.add("XCRemoteSwiftPackageReference", remote.address, comment, values)


def _product(objects: _Objects, name: str, package: Ref | None = None) -> Ref:
    """`package`: None for the product of a local one, which has its name."""
    values: dict[str, Value] = {"productName": name}
    if package is not None:
        values["package"] = package
    return objects.add("XCSwiftPackageProductDependency", name, name, values)


def _file(objects: _Objects, path: str, values: Mapping[str, Value]) -> Ref:
    name = path.rpartition("/")[2]
    return objects.add("PBXFileReference", path, name, {**values, "path": name})


def _shown(objects: _Objects, name: str, folder: str) -> Ref:
    """A file of the app's folder, or with an empty `folder` one beside the project."""
    suffix = f".{name.rpartition('.')[2]}" if "." in name else ""
    path = f"{folder}/{name}" if folder else name
    return _file(objects, path, {"lastKnownFileType": TYPES[suffix], "sourceTree": "<group>"})


def _phases(objects: _Objects, app: App, dependencies: Sequence[Ref]) -> list[Value]:
    files = {
        "Sources": [_built(objects, _shown(objects, name, app.folder), "Sources") for name in app.sources],
        "Frameworks": [
            objects.add(
                "PBXBuildFile",
                f"{product.comment} product",
                f"{product.comment} in Frameworks",
                {"productRef": product},
            )
            for product in dependencies
        ],
        "Resources": [
            *(_built(objects, _shown(objects, name, app.folder), "Resources") for name in app.resources),
            *(_built(objects, _shown(objects, name, ""), "Resources") for name in app.folders),
        ],
    }
    return [
        objects.add(
            f"PBX{kind}BuildPhase",
            app.name,
            kind,
            {"buildActionMask": 2147483647, "files": found, "runOnlyForDeploymentPostprocessing": 0},
        )
        for kind, found in files.items()
    ]


def _built(objects: _Objects, file: Ref, phase: str) -> Ref:
    return objects.add("PBXBuildFile", file.id, f"{file.comment} in {phase}", {"fileRef": file})


def _groups(objects: _Objects, app: App, product: Ref) -> Ref:
    inside = [_shown(objects, name, app.folder) for name in (*app.sources, *app.resources, *app.others)]
    beside = [_shown(objects, name, "") for name in app.folders]
    package = _file(objects, app.package, {"lastKnownFileType": "wrapper", "sourceTree": "<group>"})
    values: dict[str, Value] = {"children": inside, "path": app.folder, "sourceTree": "<group>"}
    folder = objects.add("PBXGroup", app.folder, app.folder, values)
    values = {"children": [product], "name": "Products", "sourceTree": "<group>"}
    products = objects.add("PBXGroup", "Products", "Products", values)
    return objects.add(
        "PBXGroup", "", "Main", {"children": [folder, package, *beside, products], "sourceTree": "<group>"}
    )


def _configurations(objects: _Objects, kind: str, name: str, settings: Mapping[str, Value]) -> Ref:
    of_project = kind == "PBXProject"
    found: list[Value] = [
        objects.add(
            "XCBuildConfiguration",
            f"{kind} {configuration}",
            configuration,
            {"buildSettings": {**COMMON, **own} if of_project else settings, "name": configuration},
        )
        for configuration, own in BY_CONFIGURATION.items()
    ]
    comment = f'Build configuration list for {kind} "{name}"'
    values: dict[str, Value] = {
        "buildConfigurations": found,
        "defaultConfigurationIsVisible": 0,
        "defaultConfigurationName": "Release",
    }
    return objects.add("XCConfigurationList", kind, comment, values)


def _text(objects: _Objects, root: Ref) -> str:
    lines = ["// !$*UTF8*$!", "{", "\tarchiveVersion = 1;", "\tclasses = {", "\t};"]
    lines += [f"\tobjectVersion = {OBJECT_VERSION};", "\tobjects = {"]
    for kind in sorted({kind for kind, _, _ in objects.all.values()}):
        lines += ["", f"/* Begin {kind} section */"]
        for id_, (found, comment, values) in sorted(objects.all.items()):
            if found == kind:
                body = _value({"isa": kind, **dict(sorted(values.items()))}, 2)
                lines.append(f"\t\t{id_} /* {comment} */ = {body};")
        lines.append(f"/* End {kind} section */")
    lines += ["\t};", f"\trootObject = {_value(root, 0)};", "}"]
    return "\n".join(lines) + "\n"


def _value(value: Value, depth: int) -> str:
    if isinstance(value, Ref):
        return f"{value.id} /* {value.comment} */"
    if isinstance(value, str | int):
        return _word(str(value))
    tabs = "\t" * depth
    if isinstance(value, Mapping):
        inner = "".join(f"{tabs}\t{_word(key)} = {_value(each, depth + 1)};\n" for key, each in value.items())
        return f"{{\n{inner}{tabs}}}"
    inner = "".join(f"{tabs}\t{_value(each, depth + 1)},\n" for each in value)
    return f"(\n{inner}{tabs})"


def _word(text: str) -> str:
    if PLAIN.fullmatch(text) and "//" not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
