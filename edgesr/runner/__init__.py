"""What travels to a device: opens an artifact folder and runs it.

Imports the standard library, numpy and one runtime; never torch, a converter or the command line's packages.
"""

from edgesr.runner.bicubic import BicubicRunner
from edgesr.runner.contract import Array, InputRule, Runner
from edgesr.runner.opening import open_artifact

__all__ = ["Array", "BicubicRunner", "InputRule", "Runner", "open_artifact"]
