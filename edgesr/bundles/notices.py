"""NOTICE.txt: whose code and whose weights a bundle carries, and under which licence."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from edgesr.artifact import Manifest
from edgesr.errors import EdgesrError
from edgesr.models.registry import find

RULE = "-" * 78


def own(title: str, manifests: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Heading and text of this kit's part and of every model."""
    licence = resources.files("edgesr.apps").joinpath("web", "licences", "edgesr.txt").read_text("utf-8")
    return [(title, licence), *((f"Model {manifest.slug}", weights_words(manifest)) for manifest in manifests)]


def joined(parts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{RULE}\n{title}\n{RULE}\n\n{body.strip()}\n" for title, body in parts)


def text(manifests: Sequence[Manifest], versions: Mapping[str, str], noble: str, licences: Path) -> str:
    """`versions`: of the runtimes. `noble`: the licence text of noble-hashes. `licences`: folder of the other texts."""
    targets = {manifest.request.target for manifest in manifests}
    parts = own("The page (edgesr)", manifests)
    if "onnxruntime" in targets:
        title = f"ONNX Runtime Web {versions['onnxruntime-web']}, https://onnxruntime.ai"
        more = "Notices of what it contains: ThirdPartyNotices.txt in https://github.com/microsoft/onnxruntime\n"
        parts.append((title, (licences / "onnxruntime.txt").read_text("utf-8") + "\n" + more))
    if "tflite" in targets:
        title = f"LiteRT.js {versions['@litertjs/core']}, Copyright Google LLC, https://ai.google.dev/edge/litert"
        parts.append((title, (licences / "Apache-2.0.txt").read_text("utf-8")))
    parts.append(("noble-hashes, https://paulmillr.com/noble", noble))
    return joined(parts)


def weights_words(manifest: Manifest) -> str:
    """Where a model's weights come from and under which licence they are, as far as it is known."""
    weights, request = manifest.weights, manifest.request
    head = f"Weights: {weights.file}, sha256 {weights.sha256}\n"
    if weights.kind == "edgesr-trained":
        return head + "Trained by the edgesr authors; under the MIT licence above.\n"
    if weights.kind == "official":
        try:
            official = find(request.model, request.scale).weights
        except EdgesrError:
            return head + "Published by the network's authors; this edgesr does not know their licence.\n"
        return head + f"Published by the network's authors ({official.source}); licence: {official.licence}.\n"
    return head + "Given by whoever made this bundle, who knows under which licence they are.\n"
