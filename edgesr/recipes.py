"""The recipes of one network that may keep a contract, in the order of effort; each is made once.

First the one that is shipped for exactly these weights, then those of growing effort, from the user's cache if they
were made before. Each is made in a process of its own (edgesr.isolation); one that is interrupted goes on next time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgesr import isolation
from edgesr.listener import Listener

if TYPE_CHECKING:
    from edgesr.models.weights import Loaded
    from edgesr.quantization.recipe import Found, Recipe
    from edgesr.quantization.settings import Settings
    from edgesr.quantization.unfinished import Unfinished
    from edgesr.targets.source import Source


@dataclass(frozen=True, slots=True)
class QuantizeJob:
    """What the process of a quantization gets."""

    source: "Source"
    settings: "Settings"
    unfinished: "Unfinished"


def run_quantization(job: QuantizeJob, listener: Listener) -> "Found":
    return job.source.find_recipe(job.settings, listener.progress, job.unfinished)


def generated_words(loaded: "Loaded", *, quick: bool) -> str:
    """That INT8 ranges are not chosen on photos, and what to do."""
    from edgesr.quantization import kept

    shipped = kept.shipped(loaded.spec, loaded.provenance.sha256) if quick else None
    better = "" if shipped is None else ", or leave --quick out: the package brings a recipe for these weights"
    return (
        "No calibration images given: INT8 ranges are chosen on generated pictures, which are worse than photos. Give "
        f"low-resolution photos with --calib DIR (DIV2K's official layout is recognised){better}."
    )


class Candidates:
    """Recipes by number, from 0; a larger number means more effort and less loss."""

    def __init__(
        self,
        loaded: "Loaded",
        source: "Source",
        calibration: Mapping[str, Any],
        *,
        use_shipped: bool,
        before_making: Callable[[], None],
        timeout_s: float,
        listener: Listener,
        efforts: "Sequence[Settings]",
        left_out: int = 0,
    ) -> None:
        """`source`: the network with its calibration crops; `calibration`: what a recipe says of them. `efforts`: in
        turn, but for the first `left_out`. `before_making`: called before each that is not there yet."""
        from edgesr.quantization import kept

        self._loaded, self._source, self._calibration = loaded, source, calibration
        self._timeout_s, self._listener = timeout_s, listener
        shipped = kept.shipped(loaded.spec, loaded.provenance.sha256) if use_shipped else None
        self._shipped = () if shipped is None else (shipped,)
        self._efforts, self._left_out = efforts, left_out
        self._before_making = before_making
        self._found: dict[int, Recipe] = {}

    def __len__(self) -> int:
        return len(self._shipped) + len(self._efforts) - self._left_out

    def __getitem__(self, number: int) -> "Recipe":
        """Found or made on first use, which is said."""
        if number not in self._found:
            self._found[number] = self._first(number)
        return self._found[number]

    def name(self, number: int) -> str:
        if number < len(self._shipped):
            trained = self._shipped[number].facts.trained_steps
            return "recipe in the package" + (f", trained for INT8 ({trained} steps)" if trained else "")
        return f"effort {self._effort(number) + 1} of {len(self._efforts)}"

    def _effort(self, number: int) -> int:
        return number - len(self._shipped) + self._left_out

    def _first(self, number: int) -> "Recipe":
        if number >= len(self._shipped):
            return self._make(self._efforts[self._effort(number)], self.name(number))
        spec = self._loaded.spec
        self._listener.say(f"INT8 of {spec.name} x{spec.scale}: {self.name(number)}.")
        return self._shipped[number]

    def _make(self, settings: "Settings", name: str) -> "Recipe":
        from edgesr.quantization import kept
        from edgesr.quantization.recipe import recipe_of

        spec, sha256 = self._loaded.spec, self._loaded.provenance.sha256
        place = kept.place(spec, sha256, self._calibration, settings)
        known = kept.find(place)
        if known is not None:
            self._listener.say(f"Quantizing {spec.name}: {name}, made before ({place}).")
            return known
        self._before_making()
        self._listener.say(f"Quantizing {spec.name}: {name} ...")
        unfinished = kept.unfinished(place)
        job = QuantizeJob(self._source, settings, unfinished)
        finished = isolation.run(run_quantization, job, self._listener, self._timeout_s)
        seconds = round(finished.seconds, 1)
        recipe = recipe_of(finished.value, spec.name, spec.scale, sha256, self._calibration, settings, seconds)
        kept.keep(recipe, place)
        unfinished.remove()
        return recipe
