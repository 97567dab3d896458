"""Seeded random weights for networks whose official ones nobody can download, so that full sizes can be converted.

They make a network that behaves like a trained one where it matters to a conversion: activations and outputs have the
size of pictures, every branch takes part, attention mixes positions instead of choosing one. Otherwise the network
itself would amplify rounding, and a difference between two runtimes would say nothing of the conversion.
"""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgesr.datasets import generated_pictures
from edgesr.metrics import to_input
from edgesr.models.elan import RANGE
from edgesr.models.network import Network
from edgesr.models.registry import ModelSpec
from edgesr.resize import downscale

SEED = 0
BIAS = 0.05
"""Standard deviation of biases, and of the weights of norms around 1."""
HEAD, HEAD_BIAS = re.compile(r"^(sft|head\.0|conv_first)\.bias$"), 0.5
"""The first convolution's: without them, LayerNorm would enlarge what little a dark flat part of a picture gives."""
BRANCH = 0.2
"""How much of its usual size a branch adds to what passes it: over a hundred of them must not drown the picture."""
ENDS_OF_BRANCHES = re.compile(
    r"\.attn\.project_out\.|\.ffn\.project_out\.|\.SDA\.proj_last\.|\.conv1\.shift_conv\.conv1x1\.|"
    r"gmsa_\d+\.project_out\.|attn\.proj\.|\.mlp\.fc2\.|^layers\.\d+\.conv\."
)
"""Names of what writes the end of a branch in DITN, ELAN and HAT."""
TEMPERATURE = 3.0
"""DITN's scores are cosines times this."""
SCORE = 3.0
"""Mean score of a position with itself in ELAN, whose queries are the keys."""
OUTPUT_MEAN, OUTPUT_STD = 0.45, 0.2
"""Of photographs in [0, 1]."""


def write_random_weights(spec: ModelSpec, file: Path) -> None:
    """A .safetensors file for `spec` as a checkpoint has it, the same from every call."""
    (network,) = spec.forms().values()
    save_file({key: tensor.contiguous() for key, tensor in randomized(network).state_dict().items()}, file)


@torch.no_grad()
def randomized(network: Network) -> Network:
    """`network`, a DITN, ELAN or HAT in the form that is trained, with random weights; in eval mode."""
    generator = torch.Generator().manual_seed(SEED)
    for key, parameter in network.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(_values(key, parameter, generator))
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.weight.add_(1)
    _soften_elan(network)
    picture = torch.from_numpy(to_input(downscale(generated_pictures(1, 256)[0], 4)))
    _take_statistics(network, picture)
    _fit_output(network.eval(), picture)
    return network


def _values(key: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    if key.endswith("SDA.scale"):
        return torch.ones_like(parameter)  # its branch is scaled before it
    if key.endswith("temperature"):
        return torch.full_like(parameter, TEMPERATURE)
    bias = HEAD_BIAS if HEAD.match(key) else BIAS
    size = bias if parameter.dim() == 1 else parameter[0].numel() ** -0.5
    return torch.randn(parameter.shape, generator=generator) * size * (BRANCH if ENDS_OF_BRANCHES.search(key) else 1)


def _soften_elan(network: Network) -> None:
    """Its head takes values up to 255 to about 1, and scores, products of d queries, stay about SCORE."""
    head = getattr(network, "head", None)
    if isinstance(head, nn.Sequential) and isinstance(head[0], nn.Conv2d):
        head[0].weight.div_(RANGE / 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            queries = module.num_features // 6
            module.weight.mul_((SCORE / queries) ** 0.5)
            assert module.bias is not None
            module.bias.mul_((SCORE / queries) ** 0.5)


def _take_statistics(network: Network, picture: Tensor) -> None:
    """The running statistics of BatchNorm are those of a picture."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        network.train()(picture)


def _fit_output(network: Network, picture: Tensor) -> None:
    """The last convolution writes values with the mean and spread of photographs."""
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.weight.requires_grad][-1]
    assert last.bias is not None
    output = network(picture)
    gain = OUTPUT_STD / (output - output.mean((2, 3), keepdim=True)).std()
    last.weight.mul_(gain)
    last.bias.mul_(gain)
    span = RANGE if hasattr(network, "add_mean") else 1
    last.bias.add_(span * (OUTPUT_MEAN - network(picture).mean()))
