"""The weights that a run begins with, other than from scratch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgesr.errors import WeightsError
from edgesr.listener import Listener
from edgesr.models.files import check_given
from edgesr.models.registry import ModelSpec, find
from edgesr.models.weights import forms_of, identify, load, read_state

CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Start:
    """`state`: by the keys of the training form of the network that is trained. `spec`: whose weights the file holds.

    `card`: of the file, where it lies beside it.
    """

    state: dict[str, Tensor]
    spec: ModelSpec
    sha256: str
    card: dict[str, Any] | None

    def facts(self) -> dict[str, Any]:
        """What the card of the trained weights says about them."""
        return {"start_model": self.spec.name} | ({} if self.card is None else {"start": self.card})


def read_start(spec: ModelSpec, file: Path, listener: Listener) -> Start:
    """What a run of `spec` begins with: weights of `spec`, or of the network that it may begin with, in training form.

    Raises WeightsError for a file of anything else.
    """
    source = _source(spec, file)
    loaded = load(source.name, source.scale, file, listener.say)
    state = loaded.network.state_dict()
    if state.keys() != source.forms()["train"].state_dict().keys():
        raise WeightsError(
            f"{file} holds {source.name} in its folded form, which cannot be trained. Give its training form."
        )
    if source != spec:
        state = spec.begun_with(state)
        listener.say(f"{spec.key} begins with the weights of {source.key} in {file}.")
    return Start(state, source, loaded.provenance.sha256, _card_beside(file))


def _source(spec: ModelSpec, file: Path) -> ModelSpec:
    """Whose weights `file` holds, by names and shapes."""
    check_given(file)
    state = read_state(file)
    possible = [spec] if spec.begins_with is None else [spec, find(spec.begins_with, spec.scale)]
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
