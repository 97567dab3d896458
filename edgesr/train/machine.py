"""Where a run is computed: the device, and the processes that share a batch (`torchrun`). No part of the recipe."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

import torch
from torch import Tensor, distributed, nn

from edgesr.errors import TrainingError, UsageError
from edgesr.train.recipe import Recipe

DeviceName = Literal["auto", "cpu", "cuda"]
CPU = torch.device("cpu")
PATIENCE = timedelta(hours=1)
"""How long a rank waits for the others: rank 0 validates and writes while they wait."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`rank` of `ranks` processes; `workers`: threads that draw patches, 0 for none; `compiled`: by torch.compile."""

    device: torch.device = CPU
    rank: int = 0
    ranks: int = 1
    workers: int = 0
    compiled: bool = False

    @property
    def leads(self) -> bool:
        """Writes, validates and reports."""
        return self.rank == 0

    def in_words(self) -> str:
        """`cuda:0, rank 0 of 2`."""
        return f"{self.device}" + (f", {self.ranks} ranks" if self.ranks > 1 else "")

    def share_of(self, recipe: Recipe) -> slice:
        """The samples of a batch that are this rank's. Raises UsageError where a batch cannot be shared equally."""
        if recipe.batch % self.ranks:
            raise UsageError(
                f"batch must be a multiple of the {self.ranks} ranks, got {recipe.batch}. "
                f"Give --batch {-(-recipe.batch // self.ranks) * self.ranks}."
            )
        each = recipe.batch // self.ranks
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean(self, value: Tensor) -> Tensor:
        """Over the ranks: the same bits on each, so that all decide alike."""
        if self.ranks > 1:
            value = value.detach().clone()
            distributed.all_reduce(value)
            value /= self.ranks
        return value

    def any(self, asked: bool) -> bool:
        """Whether some rank says yes."""
        if self.ranks == 1:
            return asked
        flag = torch.tensor(float(asked), device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def wait(self) -> None:
        """For all ranks."""
        if self.ranks > 1:
            distributed.barrier()

    def trained(self, network: nn.Module) -> nn.Module:
        """What to call in training: computes what `network` does, and averages gradients over the ranks."""
        if self.ranks > 1:
            if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
                raise UsageError(
                    "This network has BatchNorm, which would see the share of its rank alone. Train it in one process."
                )
            devices = [self.device.index] if self.device.type == "cuda" else None
            network = nn.parallel.DistributedDataParallel(network, device_ids=devices)
        return torch.compile(network) if self.compiled else network  # type: ignore[return-value]


def with_threads(count: int | None) -> None:
    """Of the CPU, for this process; all if None."""
    if count is not None:
        torch.set_num_threads(count)


def check_alone(command: str) -> None:
    """Raise UsageError in one of several processes of `torchrun`."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        raise UsageError(
            f"edgesr {command} runs in one process, and torchrun started {ranks}. Start it without torchrun."
        )


@contextmanager
def machine(name: DeviceName, workers: int, compiled: bool) -> Iterator[Machine]:
    """This process, joined with the others of `torchrun` where it started them.

    `name` "auto" is CUDA where there is one. Raises UsageError for CUDA where there is none, TrainingError where the
    ranks do not find each other.
    """
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = _device(name, int(os.environ.get("LOCAL_RANK", 0)))
    if ranks == 1:
        yield Machine(device, 0, 1, workers, compiled)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:  # also a store that cannot be reached
        raise TrainingError(
            f"Rank {rank} of {ranks} cannot join the others ({_first_line(error)}). Start all with torchrun."
        ) from error
    # said of 1x1 kernels in channels_last, whose two layouts are the same memory
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    try:
        yield Machine(device, rank, ranks, workers, compiled)
    finally:
        distributed.destroy_process_group()


def _device(name: DeviceName, local_rank: int) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = "this torch is built without it" if torch.version.cuda is None else "no device or driver was found"
        raise UsageError(f"There is no CUDA here ({why}; torch {torch.__version__}). Use --device cpu.")
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"There are {torch.cuda.device_count()} CUDA devices, too few for local rank {local_rank}. "
            f"Give torchrun --nproc-per-node {torch.cuda.device_count()}."
        )
    torch.cuda.set_device(local_rank)
    torch.backends.cudnn.benchmark = True  # every step has the same sizes
    return torch.device("cuda", local_rank)


class Batched(Protocol):
    @property
    def batch(self) -> int: ...
    @property
    def patch_px(self) -> int: ...


@contextmanager
def failures_said(recipe: Batched, device: torch.device) -> Iterator[None]:
    """Turns a failed allocation or compilation into TrainingError with what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if _is_of_compilation(error):
            raise TrainingError(
                f"torch.compile failed ({_first_line(error)}). On a CPU it needs a C++ compiler (Debian: g++); or "
                "train without --compile. What was saved before is kept."
            ) from error
        if not _is_out_of_memory(error):
            raise
        smaller = max(1, recipe.batch // 2)
        advice = f"--batch {smaller}" if smaller < recipe.batch else f"--patch {max(1, recipe.patch_px // 2)}"
        raise TrainingError(
            f"Out of memory on {device} with a batch of {recipe.batch} patches of {recipe.patch_px} px. Start a new "
            f"run with {advice} or less. What was saved before is kept."
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    # the CPU's allocator raises a bare RuntimeError
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)


def _is_of_compilation(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
