"""The table of networks: facts about each (name, scale), readable without torch.

A new network is one file in this folder (`Config`, `forms`) and rows here; tests recompute params, MACs, receptive
field and measured PSNR from the network itself.
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgesr.errors import UnknownName, Unsupported
from edgesr.types import Size

if TYPE_CHECKING:
    from torch import Tensor

    from edgesr.models.network import Network


@dataclass(frozen=True, slots=True)
class OfficialWeights:
    """A file published by the authors. `address` is pinned to a commit; `source` says where by hand if None.

    sha256: None where the file could not be had, so that one found by its name is checked by its keys alone.
    """

    file: str
    sha256: str | None
    address: str | None
    licence: str
    source: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network at one scale.

    params: of the official checkpoint. gmacs_720p: 1e9 multiply-accumulates of the folded convolutions and matrix
    products for a 1280x720 output. min_side_px: smallest input side. multiple_px: what a side of a tile is a multiple
    of; where it is not 1, artifacts have fixed sizes. begins_with: another network of the family, with whose weights at
    the same scale training may begin. receptive_field_px: radius, in input pixels, of what can
    influence an output; None where the network reads the whole image. halo_px: margin of a tile.
    peak_bytes_per_px: estimated peak memory per input pixel of a float32 run. measured_psnr_db: luma PSNR
    ("paper-y") of the official weights by data set; published_psnr_db: the same as printed in the paper.
    """

    name: str
    scale: int
    family: str
    config: Mapping[str, Any]
    params: int
    gmacs_720p: float
    min_side_px: int
    receptive_field_px: int | None
    halo_px: int
    peak_bytes_per_px: int
    weights: OfficialWeights
    measured_psnr_db: Mapping[str, float]
    published_psnr_db: Mapping[str, float]
    multiple_px: int = 1
    begins_with: str | None = None

    @property
    def key(self) -> str:
        """`bsrn-s_x4`: names files that belong to this network."""
        return f"{self.name}_x{self.scale}"

    def forms(self) -> "dict[str, Network]":
        """The untrained network in each form a checkpoint may have ("train", "deploy"); each has `fold()`."""
        module = importlib.import_module(f"edgesr.models.{self.family}")
        forms: dict[str, Network] = module.forms(module.Config(**self.config), self.scale)
        return forms

    def begun_with(self, state: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """Weights of the training form made from those of `begins_with`, whose `state` it is."""
        assert self.begins_with is not None
        begun: dict[str, Tensor] = importlib.import_module(f"edgesr.models.{self.family}").begun_with(state)
        return begun

    def check_sizes(self, sizes: Iterable[Size]) -> None:
        """Raise Unsupported for an input size that an artifact of this network cannot have."""
        for size in sizes:
            check_size(self.name, size, max(self.min_side_px, LEAST_FIXED_PX), self.multiple_px)


LEAST_FIXED_PX = 3
"""Of the side of a fixed input: PSNR leaves out a border as wide as the scale, and of less nothing would be left."""


def check_size(name: str, size: Size, min_side_px: int, multiple_px: int) -> None:
    """Raise Unsupported for an input size that an artifact of the network `name` cannot have."""
    height, width = size
    if min(size) < min_side_px:
        raise Unsupported(f"{name} cannot run at {height}x{width}: both sides must be at least {min_side_px} px.")
    if height % multiple_px or width % multiple_px:
        nearest = "x".join(str(-(-side // multiple_px) * multiple_px) for side in size)
        raise Unsupported(
            f"{name} cannot run at {height}x{width}: it works in windows, so both sides must be multiples of "
            f"{multiple_px} px. The next larger size is {nearest}; photos of any size are cut to it."
        )


def find(name: str, scale: int | None = None) -> ModelSpec:
    """The network `name` at `scale` (default: x4).

    Raises UnknownName or, for a scale that this network does not have, Unsupported.
    """
    by_scale = {spec.scale: spec for spec in SPECS if spec.name == name}
    if not by_scale:
        raise UnknownName("model", name, names())
    if scale is None:
        scale = 4 if 4 in by_scale else max(by_scale)
    if scale not in by_scale:
        known = ", ".join(f"x{value}" for value in sorted(by_scale))
        raise Unsupported(f"{name} does not exist at x{scale}. It exists at: {known}.")
    return by_scale[scale]


def names() -> list[str]:
    return list(dict.fromkeys(spec.name for spec in SPECS))


_MAPS_ALIVE = 17
"""Feature maps of full width that a runtime keeps at its peak: measured 3 (plainusr-t, ONNX Runtime, fp32) to 16
(bsrn-s, OpenVINO, INT8), as growth of the process per input pixel."""

_BSRN_FOLDER = "xiaom233/BSRN/2d63d5239c9fa9810b9c1aea93e98d42ece09efc/experiments/pretrained_models"
_PLAINUSR_FOLDER = "icandle/PlainUSR/d7ff11afe3d12a68c12375a7959d3aa8a3a50eda/2024_PlainUSR_ACCV/pretrained_model"


def _github(folder: str, file: str, sha256: str) -> OfficialWeights:
    owner, repository, *_ = folder.split("/")
    return OfficialWeights(
        file=file,
        sha256=sha256,
        address=f"https://raw.githubusercontent.com/{folder}/{file}",
        licence="MIT",
        source=f"github.com/{owner}/{repository}",
    )


def _bsrn(
    name: str,
    scale: int,
    file: str,
    sha256: str,
    *,
    params: int,
    gmacs: float,
    measured: Mapping[str, float],
    published: Mapping[str, float],
) -> ModelSpec:
    slim = name == "bsrn-s"
    channels = 48 if slim else 64
    return ModelSpec(
        name=name,
        scale=scale,
        family="bsrn",
        config={"channels": channels, "blocks": 5 if slim else 8, "slim": slim},
        params=params,
        gmacs_720p=gmacs,
        min_side_px=15,
        receptive_field_px=159 if slim else None,
        halo_px=32,
        peak_bytes_per_px=4 * _MAPS_ALIVE * channels,
        weights=_github(_BSRN_FOLDER, file, sha256),
        measured_psnr_db=measured,
        published_psnr_db=published,
    )


@dataclass(frozen=True, slots=True)
class _PlainSize:
    widths: tuple[int, ...]
    attention: int | None
    receptive_field_px: int
    halo_px: int
    convs: int = 2


_PLAIN_SIZES = {
    "plainusr-u": _PlainSize((16, 8), None, 9, 9),
    "plainusr-t": _PlainSize((32, 16), None, 9, 9),
    "plainusr-s": _PlainSize((32, 16, 8), 4, 96, 32),
    "plainusr-m": _PlainSize((48, 32, 16), 8, 96, 32),
    "plainusr": _PlainSize((64, 48, 32), 16, 96, 32),
    "plainusr-l": _PlainSize((80, 64, 48), 16, 97, 32, convs=3),
}


def _plainusr(
    name: str,
    scale: int,
    sha256: str,
    *,
    params: int,
    gmacs: float,
    measured: Mapping[str, float],
) -> ModelSpec:
    size = _PLAIN_SIZES[name]
    letter = name.removeprefix("plainusr").removeprefix("-").upper()
    return ModelSpec(
        name=name,
        scale=scale,
        family="plainusr",
        config={"widths": size.widths, "attention": size.attention, "convs": size.convs},
        params=params,
        gmacs_720p=gmacs,
        min_side_px=1 if size.attention is None else 7,
        receptive_field_px=size.receptive_field_px,
        halo_px=size.halo_px,
        peak_bytes_per_px=4 * _MAPS_ALIVE * (size.widths[0] + 3),
        weights=_github(_PLAINUSR_FOLDER, f"PlainUSR{letter}_Rep_x{scale}.pth", sha256),
        measured_psnr_db=measured,
        published_psnr_db={},
    )


def _by_hand(file: str, licence: str, source: str) -> OfficialWeights:
    """Published where only a browser can get them."""
    return OfficialWeights(file=file, sha256=None, address=None, licence=licence, source=source)


@dataclass(frozen=True, slots=True)
class _WindowNetwork:
    """A network with attention in windows, whose scales differ in little. `facts`: (params, GMACs) of x2, x3, x4."""

    family: str
    config: Mapping[str, Any]
    channels: int
    multiple_px: int
    receptive_field_px: int | None
    weights: OfficialWeights
    """`{scale}` stands in the name of the file."""
    facts: tuple[tuple[int, float], tuple[int, float], tuple[int, float]]
    published: Mapping[str, float]
    """For x4."""
    begins_with: str | None = None


_DITN_SOURCE = "Google Drive, linked from github.com/yongliuy/DITN"
_ELAN_SOURCE = "Baidu disk, linked from github.com/xindongzhang/ELAN"
_HAT_SOURCE = "Google Drive, linked from github.com/XPixelGroup/HAT"

_WINDOW_NETWORKS = {
    "ditn-real": _WindowNetwork(
        "ditn",
        {"units": 1, "norm": "tanh"},
        channels=60,
        multiple_px=8,
        receptive_field_px=58,
        weights=_by_hand("DITN_Real_x{scale}.pth", "Apache-2.0", _DITN_SOURCE),
        facts=((424_636, 90.395), (432_751, 41.518), (444_112, 24.246)),
        published={},
        begins_with="ditn-tiny",
    ),
    "ditn-tiny": _WindowNetwork(
        "ditn",
        {"units": 1, "norm": "layer"},
        channels=60,
        multiple_px=8,
        receptive_field_px=58,
        weights=_by_hand("DITN_Tiny_x{scale}.pth", "Apache-2.0", _DITN_SOURCE),
        facts=((367_996, 90.395), (376_111, 41.518), (387_472, 24.246)),
        published={},
    ),
    "ditn": _WindowNetwork(
        "ditn",
        {"units": 3, "norm": "layer"},
        channels=60,
        multiple_px=8,
        receptive_field_px=168,
        weights=_by_hand("DITN_x{scale}.pth", "Apache-2.0", _DITN_SOURCE),
        facts=((1_022_724, 252.523), (1_030_839, 114.475), (1_042_200, 65.678)),
        published={},
    ),
    "elan-light": _WindowNetwork(
        "elan",
        {"modules": 24, "channels": 60, "shared": 1},
        channels=60,
        multiple_px=16,
        receptive_field_px=None,
        weights=_by_hand("ELAN-light_x{scale}.pth", "Apache-2.0", _ELAN_SOURCE),
        facts=((620_916, 200.31), (629_031, 89.02), (640_392, 53.449)),
        published={},
    ),
    "elan": _WindowNetwork(
        "elan",
        {"modules": 36, "channels": 180, "shared": 0},
        channels=180,
        multiple_px=16,
        receptive_field_px=None,
        weights=_by_hand("ELAN_x{scale}.pth", "Apache-2.0", _ELAN_SOURCE),
        facts=((8_429_076, 2311.765), (8_453_391, 1020.199), (8_487_432, 606.652)),
        published={},
    ),
    "hat-s": _WindowNetwork(
        "hat",
        {"channels": 144, "depths": (6,) * 6, "compress": 24, "squeeze": 24},
        channels=144,
        multiple_px=16,
        receptive_field_px=None,
        weights=_by_hand("HAT-S_SRx{scale}.pth", "Apache-2.0", _HAT_SOURCE),
        facts=((9_473_471, 3022.867), (9_658_111, 1350.725), (9_621_183, 826.087)),
        published={"Set5": 32.92, "Set14": 29.15},
    ),
    "hat": _WindowNetwork(
        "hat",
        {"channels": 180, "depths": (6,) * 6},
        channels=180,
        multiple_px=16,
        receptive_field_px=None,
        weights=_by_hand("HAT_SRx{scale}.pth", "Apache-2.0", _HAT_SOURCE),
        facts=((20_624_795, 5855.362), (20_809_435, 2597.638), (20_772_507, 1564.999)),
        published={"Set5": 33.04, "Set14": 29.23},
    ),
    "hat-l": _WindowNetwork(
        "hat",
        {"channels": 180, "depths": (6,) * 12},
        channels=180,
        multiple_px=16,
        receptive_field_px=None,
        weights=_by_hand("HAT-L_SRx{scale}_ImageNet-pretrain.pth", "Apache-2.0", _HAT_SOURCE),
        facts=((40_698_863, 11580.126), (40_883_503, 5117.779), (40_846_575, 3058.415)),
        published={},
    ),
}


def _windowed(name: str, scale: int) -> ModelSpec:
    network = _WINDOW_NETWORKS[name]
    params, gmacs = network.facts[scale - 2]
    return ModelSpec(
        name=name,
        scale=scale,
        family=network.family,
        config=network.config,
        params=params,
        gmacs_720p=gmacs,
        min_side_px=network.multiple_px // 2 + 1,
        receptive_field_px=network.receptive_field_px,
        halo_px=32,
        peak_bytes_per_px=4 * _MAPS_ALIVE * network.channels,
        weights=replace(network.weights, file=network.weights.file.format(scale=scale)),
        measured_psnr_db={},
        published_psnr_db=network.published if scale == 4 else {},
        multiple_px=network.multiple_px,
        begins_with=network.begins_with,
    )


def _db(set5: float, set14: float, div2k_crops: float) -> dict[str, float]:
    return {"Set5": set5, "Set14": set14, "DIV2K_valid_crops": div2k_crops}


SPECS: tuple[ModelSpec, ...] = (
    _bsrn(
        "bsrn-s",
        4,
        "net_g_BSRN-S.pth",
        "f035e512bcecd2999af21999fdaeb6ed39a4492ac11d214b8164d27e6e958fec",
        params=156_288,
        gmacs=8.263,
        measured=_db(32.163, 28.637, 29.010),
        published={},
    ),
    _bsrn(
        "bsrn",
        2,
        "net_g_BSRN_x2.pth",
        "09bd1f85e017c7902e65a9c9770ee592efe3d013f6b5cf1fe7de8cabac4ba37d",
        params=331_628,
        gmacs=71.803,
        measured=_db(38.084, 33.732, 34.937),
        published={"Set5": 38.10},
    ),
    _bsrn(
        "bsrn",
        3,
        "net_g_BSRN_x3.pth",
        "6eb73a300aaec5029bc0de7f5ae85c02b8dcd8fdaf438c77f90272939fecca7e",
        params=340_283,
        gmacs=32.822,
        measured=_db(34.460, 30.467, 31.156),
        published={"Set5": 34.46},
    ),
    _bsrn(
        "bsrn",
        4,
        "net_g_BSRN_x4.pth",
        "47518e0f549f5696da0c84ca2d65bf50d789c7ac20e621909f5fd6c8c8d70bcb",
        params=352_400,
        gmacs=19.144,
        measured=_db(32.350, 28.739, 29.140),
        published={"Set5": 32.35},
    ),
    _plainusr(
        "plainusr-u",
        2,
        "8c6c9f82bceaab6b84bacad643443c367bee93e9ecdabb7c7e4cc595dc82df81",
        params=13_628,
        gmacs=3.112,
        measured=_db(37.102, 32.753, 33.580),
    ),
    _plainusr(
        "plainusr-u",
        4,
        "d64a40ab30019a20a34bb89dd4c6b5d0ab8b16911c65c63ce31b842f4079d15a",
        params=19_820,
        gmacs=1.133,
        measured=_db(30.772, 27.724, 28.106),
    ),
    _plainusr(
        "plainusr-t",
        2,
        "65af9f10f65ec806849bc5eaffadfa0e39101f7a6d7d8f394b13090fce4ae1d4",
        params=48_724,
        gmacs=11.175,
        measured=_db(37.467, 32.980, 33.939),
    ),
    _plainusr(
        "plainusr-t",
        4,
        "43f254de7f5f349256aaf7e5b40484d2c9fb3573ca1ef89478c5dd11b86331dc",
        params=60_100,
        gmacs=3.447,
        measured=_db(31.204, 28.025, 28.342),
    ),
    _plainusr(
        "plainusr-s",
        2,
        "7517940668d25eb28fbc27751cd9e42258ab0277e474b65ab782bb61cac7e81d",
        params=57_236,
        gmacs=12.095,
        measured=_db(37.637, 33.167, 34.225),
    ),
    _plainusr(
        "plainusr-s",
        4,
        "874b274f27c0174df744fd22eec9dea907f484014100479f822e609dda86f919",
        params=68_612,
        gmacs=3.677,
        measured=_db(31.565, 28.172, 28.522),
    ),
    _plainusr(
        "plainusr-m",
        2,
        "f83f3afee4467e7a239e88b85cb0849cd627d06650bc71dd67370d9bc7c87d54",
        params=148_932,
        gmacs=30.673,
        measured=_db(37.787, 33.377, 34.478),
    ),
    _plainusr(
        "plainusr-m",
        4,
        "5f277afeb3dcfc8014a1ae2fb8f79286147f670e68d43fc9d6ccbc3a9650d3d8",
        params=165_492,
        gmacs=8.620,
        measured=_db(31.794, 28.380, 28.738),
    ),
    _plainusr(
        "plainusr",
        2,
        "2fdda1ffebfb07352e11651f1814b74bf36446aeb2b9541bea55d0b94d55e52e",
        params=311_364,
        gmacs=60.661,
        measured=_db(37.946, 33.559, 34.700),
    ),
    _plainusr(
        "plainusr",
        4,
        "afdf923f7bb2e1904d26673653466bd11d809d2daf19a2c7bd6a38391a70efc2",
        params=333_108,
        gmacs=16.414,
        measured=_db(32.017, 28.543, 28.936),
    ),
    _plainusr(
        "plainusr-l",
        2,
        "695596b258962f2e17cea71ff94cfa64067f061c748546f0d1d4b3aa46f520c2",
        params=707_076,
        gmacs=149.115,
        measured=_db(38.067, 33.819, 34.963),
    ),
    _plainusr(
        "plainusr-l",
        4,
        "050a1d20f2046d01eadab9efd8918a5d9ef705586faab16192d42b897d99ec4e",
        params=734_004,
        gmacs=38.826,
        measured=_db(32.257, 28.714, 29.130),
    ),
    *(_windowed(name, scale) for name in _WINDOW_NETWORKS for scale in (2, 3, 4)),
)
