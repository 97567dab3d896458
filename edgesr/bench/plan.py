"""How long is measured, and when it is enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgesr.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Profile:
    """`repeats` cold processes, each with `warmup` inferences that do not count and then timed ones.

    Timing stops when both `least_s` seconds and `least_samples` samples are reached over all repeats, or at `most_s`;
    the shares of one repeat are equal. `whole_s` ends it too, and counts from before the artifact is opened: what opens
    slowly is timed for less long, with at least one sample per repeat. The rules are those of MLPerf's LoadGen for a
    single stream (both a minimum duration and a minimum count of queries); the cold repeats are there because one
    process can be lucky.
    """

    name: str
    repeats: int
    least_s: float
    least_samples: int
    most_s: float
    warmup: int = 3
    whole_s: float | None = None


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile("smoke", repeats=2, least_s=6, least_samples=64, most_s=6.5, warmup=1, whole_s=8),
            Profile("quick", repeats=3, least_s=10, least_samples=128, most_s=60),
            Profile("full", repeats=5, least_s=60, least_samples=1024, most_s=600),
            Profile("sustained", repeats=1, least_s=600, least_samples=1024, most_s=1800),
        )
    }
)
"""smoke: does it run, roughly how fast, in 15 s with everything. full: for a table. sustained: does it stay so fast."""

DEFAULT = "quick"
COOL_TO_C = 35.0
"""Phones are let cool down to this before each repeat (BENCHMARK_SPEC of react-native-executorch)."""
COOL_MARGIN_C = 5.0
"""Other devices: to this much above where they were before the first repeat."""
COOL_FOR_S = 180.0
"""At most. What was not reached by then is measured all the same and flagged."""


def find(name: str) -> Profile:
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]
