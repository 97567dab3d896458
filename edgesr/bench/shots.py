"""Images for quality, each with what the float32 network makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgesr import verify
from edgesr.artifact import Manifest
from edgesr.bench.inputs import Crops, crops
from edgesr.bench.quality import Shot
from edgesr.bench.subject import Item
from edgesr.datasets import built_in_set, eval_sets
from edgesr.errors import MissingExtra, UsageError
from edgesr.listener import Listener
from edgesr.runner import Runner, open_artifact
from edgesr.types import Size


@dataclass
class Shots:
    """Makes the images of every artifact, and what is dear only once: the network's outputs.

    `reference`: a float32 artifact to compare with instead of the network in torch, run on this machine; "none" to
    compare with the ground truth alone. `weights`: the checkpoint that artifacts were made from, if it was the user's.
    """

    data: Path
    weights: Path | None
    reference: str | None
    listener: Listener
    _made: dict[tuple[object, ...], list[Shot]] = field(default_factory=dict)

    def of(self, item: Item) -> Sequence[Shot]:
        """Raises DataError, WeightsError, MissingExtra without torch, UsageError for another artifact's reference."""
        sizes = (item.subject.size,) if item.subject.fixed_size else ()
        weights = None if item.manifest is None else item.manifest.weights.sha256
        key = item.subject.model, item.subject.scale, sizes, weights
        if key not in self._made:
            self._made[key] = self._make(item, sizes)
        return self._made[key]

    def _make(self, item: Item, sizes: tuple[Size, ...]) -> list[Shot]:
        if self.reference == "none" or (self.reference is None and item.manifest is None):
            return self._without(item.subject.scale, sizes)
        if self.reference is not None:
            runner = open_artifact(Path(self.reference))
            return self._by_runner(runner, item, sizes)
        assert item.manifest is not None
        return self._by_network(item.manifest, sizes)

    def _without(self, scale: int, sizes: tuple[Size, ...]) -> list[Shot]:
        found = []
        for images in eval_sets(self.data, scale):
            for pair in images:
                low, high = verify.fit(pair.low, pair.high, scale, sizes[0]) if sizes else (pair.low, pair.high)
                found.append(Shot(images.name, pair.name, low, high, None))
        return found

    def _by_runner(self, runner: Runner, item: Item, sizes: tuple[Size, ...]) -> list[Shot]:
        if runner.scale != item.subject.scale or not all(runner.accepts.allows(size) for size in sizes):
            raise UsageError(
                f"--reference {self.reference} is x{runner.scale} and takes {runner.accepts}; it cannot be compared "
                f"with {item.subject.name}."
            )
        found = verify.references(runner, eval_sets(self.data, runner.scale), runner.scale, self.listener, sizes=sizes)
        return [_shot(reference) for reference in found]

    def _by_network(self, manifest: Manifest, sizes: tuple[Size, ...]) -> list[Shot]:
        from edgesr.earlier import session_of

        try:
            session = session_of(manifest, weights=self.weights, data=self.data, listener=self.listener)
        except MissingExtra as error:
            raise UsageError(
                f"{error} It computes the float32 outputs that drops are measured against. Or give a float32 artifact "
                "with --reference ARTIFACT, or measure PSNR alone with --reference none."
            ) from error
        return [_shot(reference) for reference in session.expected(sizes)]


def _shot(found: verify.Reference) -> Shot:
    return Shot(found.set_name, found.name, found.low, found.high, found.output)


def crops_for(item: Item, data: Path | None) -> Crops:
    """To run while time is taken: from the low-resolution images of `data`, else from the pictures that are always
    there."""
    scale, size = item.subject.scale, item.subject.size
    if data is None:
        built_in = built_in_set(scale)
        return crops([pair.high for pair in built_in], size, f"{built_in.name} pictures")
    sets = eval_sets(data, scale)
    return crops([pair.low for images in sets for pair in images], size, ", ".join(images.name for images in sets))
