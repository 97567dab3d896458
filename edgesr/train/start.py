"""The weights that a run begins with, other than from scratch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgesr.errors import WeightsError
from edgesr.listener import Listener
from edgesr.models.files import check_given
from edgesr.models.registry import SPECS, ModelSpec, find
from edgesr.models.weights import forms_of, identify, load, read_state

CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Start:
    """`state`: by the keys of the training form of the network that is trained. `spec`: whose weights the file holds.

    `anew`: keys that the file lacks or has in another shape, because it is of another scale. `card`: of the file, where
    it lies beside it, as in a run's folder or as in edgesr.assets.
    """

    state: dict[str, Tensor]
    spec: ModelSpec
    sha256: str
    card: dict[str, Any] | None
    anew: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What the card of the trained weights says about them."""
        scale = {"start_scale": self.spec.scale, "begun_anew": list(self.anew)} if self.anew else {}
        return {"start_model": self.spec.name} | scale | ({} if self.card is None else {"start": self.card})


def read_start(spec: ModelSpec, file: Path, listener: Listener) -> Start:
    """What a run of `spec` begins with: weights of `spec` at this or another scale, or of the network that it may begin
    with, in training form. Of another scale, all is taken but what differs in shape: the upsampler.

    Raises WeightsError for a file of anything else.
    """
    source = _source(spec, file)
    loaded = load(source.name, source.scale, file, listener.say)
    state = loaded.network.state_dict()
    if state.keys() != source.forms()["train"].state_dict().keys():
        raise WeightsError(
            f"{file} holds {source.name} in its folded form, which cannot be trained. Give its training form."
        )
    anew: tuple[str, ...] = ()
    if source.name != spec.name:
        state = spec.begun_with(state)
    elif source != spec:
        state, anew = _shared(spec, state)
    if source != spec:
        but = f", but for {len(anew)} tensors that begin anew: {', '.join(anew)}" if anew else ""
        listener.say(f"{spec.key} begins with the weights of {source.key} in {file}{but}.")
    sha256 = loaded.provenance.sha256
    return Start(state, source, sha256, _card_beside(file) or _card_of_the_same_name(file, sha256), anew)


def _shared(spec: ModelSpec, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """What of `state` the training form of `spec` has in the same shape, and the keys of the rest of that form."""
    wanted = spec.forms()["train"].state_dict()
    shared = {name: value for name, value in state.items() if name in wanted and wanted[name].shape == value.shape}
    return shared, tuple(name for name in wanted if name not in shared)


def _source(spec: ModelSpec, file: Path) -> ModelSpec:
    """Whose weights `file` holds, by names and shapes."""
    check_given(file)
    state = read_state(file)
    possible = [spec, *([] if spec.begins_with is None else [find(spec.begins_with, spec.scale)])]
    possible += [other for other in SPECS if other.name == spec.name and other.scale != spec.scale]
    for source in possible:
        if forms_of(source, state):
            return source
    found = [other for other, _ in identify(state)]
    if not found:
        return spec  # loading it says in what it differs
    raise WeightsError(
        f"{file} holds {_named(found)}; training of {_named([spec])} cannot begin with that. "
        f"Give weights of {_named(possible)}."
    )


def _named(specs: list[ModelSpec]) -> str:
    return " or ".join(f"{spec.name} x{spec.scale}" for spec in specs)


def _card_beside(file: Path) -> dict[str, Any] | None:
    card = file.with_name(CARD)
    if not card.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{card}, the card of {file.name}, cannot be read ({error}). Correct or move it.") from error
    return found


def _card_of_the_same_name(file: Path, sha256: str) -> dict[str, Any] | None:
    """NAME.json, if that is the card of these weights: it may be anything else."""
    try:
        found = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    of_these = isinstance(found, dict) and found.get("weights_sha256") == sha256
    return found if of_these else None
