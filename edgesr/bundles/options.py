"""What may be said about a bundle beside its artifacts and platform."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """`offline`: bring the packages along; `wheels`: a folder to take them from instead of the index; `python`: of the
    board, as "3.13", None for its system's own. `keystore`: for signing a release; None signs for trying out.
    """

    offline: bool = False
    wheels: Path | None = None
    python: str | None = None
    keystore: Path | None = None
    key_alias: str | None = None

    def given(self) -> frozenset[str]:
        """Names of those that were not left as they are."""
        return frozenset(name for name in self.__slots__ if getattr(self, name) not in (None, False))
