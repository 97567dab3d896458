"""Late import of optional dependencies."""

import importlib
from types import ModuleType

from edgesr.errors import MissingExtra


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, which comes with `pip install 'edgesr[extra]'`.

    Raises MissingExtra with that line if the package is not installed. An error inside an installed package is not
    hidden: it propagates.
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != top:
            raise
        raise MissingExtra(top, extra) from error
