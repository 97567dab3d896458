"""MIL operations on matrices and on the shapes of tensors, in numpy."""

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.runner.mil_arguments import Arguments
from edgesr.runner.mil_program import Values, check_size

LIMIT_RANK = 5


def softmax(arguments: Arguments) -> Values:
    x, axis = arguments.tensor("x"), arguments.integer("axis", -1)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    result: Values = powers / powers.sum(axis=axis, keepdims=True)
    return result


def layer_norm(arguments: Arguments) -> Values:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta over `axes`, the last ones."""
    x = arguments.tensor("x")
    axes = tuple(axis % x.ndim for axis in arguments.integers("axes"))
    centred: Values = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    centred /= np.sqrt(variance + np.float32(arguments.number("epsilon", 1e-5)))
    gamma, beta = arguments.optional("gamma"), arguments.optional("beta")
    centred = centred if gamma is None else centred * gamma
    return centred if beta is None else centred + beta


def linear(arguments: Arguments) -> Values:
    """x @ weight.T + bias along the last axis; weight (outputs, inputs)."""
    x, weight, bias = arguments.tensor("x"), arguments.tensor("weight"), arguments.optional("bias")
    if weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ArtifactError(f"takes (..., inputs) and (outputs, inputs); found the shapes {x.shape} and {weight.shape}")
    check_size((*x.shape[:-1], len(weight)))
    result: Values = x @ weight.T
    return result if bias is None else result + bias


def pad(arguments: Arguments) -> Values:
    """`pad`: (before, after) of each of the last axes."""
    x, sides = arguments.tensor("x"), arguments.integers("pad")
    if arguments.text("mode", "constant") != "constant" or len(sides) % 2 or len(sides) > 2 * x.ndim or min(sides) < 0:
        raise ArtifactError(f"of {x.shape} by {sides} in another mode than 'constant' is not known to this kit")
    widths = [(0, 0)] * (x.ndim - len(sides) // 2) + [(sides[at], sides[at + 1]) for at in range(0, len(sides), 2)]
    check_size(tuple(side + sum(width) for side, width in zip(x.shape, widths, strict=True)))
    return np.pad(x, widths, constant_values=arguments.number("constant_val", 0))


def tile(arguments: Arguments) -> Values:
    x, times = arguments.tensor("x"), arguments.integers("reps")
    if len(times) != x.ndim or min(times) < 1:
        raise ArtifactError(f"cannot repeat {x.shape} {times} times")
    check_size(tuple(side * count for side, count in zip(x.shape, times, strict=True)))
    return np.tile(x, times)


def matmul(arguments: Arguments) -> Values:
    x, y = arguments.tensor("x"), arguments.tensor("y")
    if min(x.ndim, y.ndim) < 2:
        raise ArtifactError(f"takes matrices; found the shapes {x.shape} and {y.shape}")
    x = x.swapaxes(-1, -2) if arguments.flag("transpose_x", False) else x
    y = y.swapaxes(-1, -2) if arguments.flag("transpose_y", False) else y
    check_size((*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]))
    result: Values = np.matmul(x, y)
    return result


def concat(arguments: Arguments) -> Values:
    if arguments.flag("interleave", False):
        raise ArtifactError("interleave is not known to this kit")
    parts = arguments.all("values")
    check_size((sum(part.size for part in parts),))
    return np.concatenate(parts, axis=arguments.integer("axis", 0))


def stack(arguments: Arguments) -> Values:
    parts = arguments.all("values")
    check_size((sum(part.size for part in parts),))
    return np.stack(parts, axis=arguments.integer("axis", 0))


def split(arguments: Arguments) -> tuple[Values, ...]:
    x, axis = arguments.tensor("x"), arguments.integer("axis", 0)
    if "split_sizes" not in arguments.values:
        return tuple(np.split(x, arguments.integer("num_splits", 1), axis=axis))
    sizes = arguments.integers("split_sizes")
    if min(sizes) < 0 or sum(sizes) != x.shape[axis]:
        raise ArtifactError(f"cannot split {x.shape[axis]} into {sizes}")
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def slice_by_index(arguments: Arguments) -> Values:
    """Negative ends count from the end; a mask means from the first or to the last; squeeze drops the dimension."""
    x, rank = arguments.tensor("x"), arguments.tensor("x").ndim
    begins, ends = arguments.integers("begin"), arguments.integers("end")
    strides = arguments.integers("stride", (1,) * rank)
    none = (0,) * rank
    masks = [arguments.integers(key, none) for key in ("begin_mask", "end_mask", "squeeze_mask")]
    if any(len(part) != rank for part in (begins, ends, strides, *masks)):
        raise ArtifactError(f"needs one number per dimension of {x.shape}")
    index = tuple(
        begin if squeeze else slice(None if first else begin, None if last else end, stride)
        for begin, end, stride, first, last, squeeze in zip(begins, ends, strides, *masks, strict=True)
    )
    return np.asarray(x[index])


def reshape(arguments: Arguments) -> Values:
    """0 keeps a side, -1 takes what is left."""
    x, shape = arguments.tensor("x"), arguments.integers("shape")
    return x.reshape([x.shape[index] if side == 0 else side for index, side in enumerate(shape)])


def transpose(arguments: Arguments) -> Values:
    return arguments.tensor("x").transpose(arguments.integers("perm"))


def expand_dims(arguments: Arguments) -> Values:
    x, axes = arguments.tensor("x"), arguments.integers("axes")
    if x.ndim + len(axes) > LIMIT_RANK:
        raise ArtifactError(f"to {x.ndim + len(axes)} dimensions; at most {LIMIT_RANK} exist")
    return np.expand_dims(x, axes)


def squeeze(arguments: Arguments) -> Values:
    return np.squeeze(arguments.tensor("x"), axis=arguments.integers("axes", ()) or None)


def gather(arguments: Arguments) -> Values:
    x, indices = arguments.tensor("x"), arguments.tensor("indices")
    check_size((x.size, indices.size))
    return np.take(x, indices.astype(np.int64), axis=arguments.integer("axis", 0))
