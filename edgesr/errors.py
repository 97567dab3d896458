"""Every error that edgesr raises on purpose, and the exit code it ends the command with.

EdgesrError                     1
├── UsageError                  2   the request itself is wrong
│   ├── UnknownName             2   a model, target ... that does not exist; lists what does
│   └── Unsupported             2   exists, but not in this combination, scale or size
├── MissingExtra                3   an optional dependency is not installed; says the pip line
├── MissingTool                 3   a program is not installed; says how to get it
├── WeightsError                4   weights missing, damaged, hostile or of another model
├── ConversionError             5   a toolchain failed; names the stage
│   └── Crashed                 5   the process of a step crashed or hung
├── ParityError                 6   the artifact does not compute what the network computes
├── QualityError                7   the artifact loses more dB than allowed
├── ArtifactError               8   an artifact folder is incomplete, changed or unreadable
├── ImageError                  9   a photo cannot be read, or is not one
├── DataError                  10   a data set is missing or damaged
├── TrainingError              11   training cannot start or go on
├── OutputError                12   an output cannot be written (read-only, full)
├── DeviceError                13   a device cannot do what it is asked
│   ├── ConnectionLost         13   it did not answer, or no longer: trying again may help
│   └── TimedOut               13   it took longer than allowed and was ended
├── NothingFits                14   no measured artifact keeps a budget; names the nearest
└── BundleError                15   an app cannot be built
Interrupted (Ctrl-C)          130
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType


class EdgesrError(Exception):
    """Base of the tree; `str(error)` is a sentence for the user: what happened, the value, what to do next."""

    exit_code = 1


class UsageError(EdgesrError):
    exit_code = 2


class UnknownName(UsageError):
    """`kind` ("model", "target" ...) named `name` does not exist; `known` do. `other_names`: what people call them."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], other_names: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        known = list(known)
        meant = other_names.get(name.lower())
        close = [meant] if meant else difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"There is no {kind} named {name!r}.{hint} Known: {', '.join(known)}.")
        self.name, self.known = name, known


class Unsupported(UsageError):
    pass


class MissingExtra(EdgesrError):
    exit_code = 3

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"The Python package {module!r} is not installed. Install it with: pip install 'edgesr[{extra}]'"
        )
        self.module, self.extra = module, extra


class MissingTool(EdgesrError):
    """`program` is needed because it does `purpose`."""

    exit_code = 3

    def __init__(self, program: str, purpose: str, install: str) -> None:
        super().__init__(f"The program {program} is not installed; it {purpose}. Install it with: {install}")
        self.program = program


class WeightsError(EdgesrError):
    exit_code = 4


class ConversionError(EdgesrError):
    """`stage` names the step that failed (export, quantize, compile, save)."""

    exit_code = 5

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(f"Conversion failed at stage {stage!r}: {message}")
        self.stage = stage


class Crashed(ConversionError):
    def __init__(self, message: str) -> None:
        super().__init__("process", message)


class ParityError(EdgesrError):
    exit_code = 6


class QualityError(EdgesrError):
    exit_code = 7


class ArtifactError(EdgesrError):
    exit_code = 8


class ImageError(EdgesrError):
    exit_code = 9


class DataError(EdgesrError):
    exit_code = 10


class TrainingError(EdgesrError):
    exit_code = 11


class OutputError(EdgesrError):
    exit_code = 12


class DeviceError(EdgesrError):
    """`argv`: what was asked of the device; `code`: how that ended, None if it never did; `stderr`: its last lines."""

    exit_code = 13

    def __init__(self, message: str, argv: Sequence[str] = (), code: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.argv, self.code, self.stderr = tuple(argv), code, stderr


class ConnectionLost(DeviceError):
    pass


class TimedOut(DeviceError):
    pass


class NothingFits(EdgesrError):
    exit_code = 14


class BundleError(EdgesrError):
    exit_code = 15


def restored(name: str, message: str) -> EdgesrError:
    """An error that another process raised: its class by name, and its message; constructors differ too much to call.

    A name that is none of this tree becomes an EdgesrError that says it.
    """
    found = globals().get(name)
    if not (isinstance(found, type) and issubclass(found, EdgesrError)):
        return EdgesrError(f"{name}: {message}")
    error = found.__new__(found)
    Exception.__init__(error, message)
    return error
