"""Reference implementations of the optimizers' equations in NumPy and float64, one function each.

Each function computes one step of one tensor and returns the weights after it. `w` are the weights before the step, `g` the gradient
there, `t` = 1, 2, ... the number of this tensor's step, and `memory` the optimizer's state (empty before the first step), which the
function updates. Arguments and defaults are those of the class of that name in `torch.optim`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Memory = dict[str, Array]
Step = Callable[..., Array]


def sgd(
    w: Array,
    g: Array,
    t: int,
    memory: Memory,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Array:
    """Gradient descent, with heavy-ball or Nesterov momentum. `weight_decay` is an L2 penalty: it is added to the gradient.

    Momentum: Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5. Nesterov's in the form of Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, written (as in torch) for the look-ahead weights. The initial
    velocity is the first gradient, undampened. The learning rate multiplies the velocity, so that a schedule takes effect at once.
    """
    g = g + weight_decay * w
    if momentum == 0:
        return w - lr * g
    velocity = g if t == 1 else momentum * memory["velocity"] + (1 - dampening) * g
    memory["velocity"] = velocity
    return w - lr * (g + momentum * velocity if nesterov else velocity)


def adagrad(
    w: Array,
    g: Array,
    t: int,
    memory: Memory,
    *,
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> Array:
    """Adagrad: the learning rate of each weight is divided by the root of the sum of its squared gradients.

    Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html (the diagonal form, figure 1).
    """
    g = g + weight_decay * w
    total = memory.get("total", np.full_like(w, initial_accumulator_value)) + g**2
    memory["total"] = total
    return w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(total) + eps)


def rmsprop(
    w: Array,
    g: Array,
    t: int,
    memory: Memory,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Array:
    """RMSprop: Adagrad with an exponential moving average in place of the sum. `centered` divides by the standard deviation.

    Tieleman and Hinton 2012, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf (slide 29); centered: Graves
    2013, https://arxiv.org/abs/1308.0850 (equations 38-45), with `eps` outside the root, as in torch.
    """
    g = g + weight_decay * w
    square = alpha * memory.get("square", np.zeros_like(w)) + (1 - alpha) * g**2
    memory["square"] = square
    if centered:
        mean = alpha * memory.get("mean", np.zeros_like(w)) + (1 - alpha) * g
        memory["mean"] = mean
        square = square - mean**2
    update = g / (np.sqrt(square) + eps)
    if momentum:
        update = momentum * memory.get("velocity", np.zeros_like(w)) + update
        memory["velocity"] = update
    return w - lr * update


def adam(
    w: Array,
    g: Array,
    t: int,
    memory: Memory,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> Array:
    """Adam: momentum divided by the RMSprop denominator, both bias-corrected. `weight_decay` is an L2 penalty.

    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980 (algorithm 1). `amsgrad` keeps the maximum of the second moment: Reddi, Kale and
    Kumar 2018, https://arxiv.org/abs/1904.09237 (algorithm 2, with Adam's bias correction, as in torch).
    """
    g = g + weight_decay * w
    first = betas[0] * memory.get("first", np.zeros_like(w)) + (1 - betas[0]) * g
    second = betas[1] * memory.get("second", np.zeros_like(w)) + (1 - betas[1]) * g**2
    memory["first"], memory["second"] = first, second
    if amsgrad:
        second = memory["maximum"] = np.maximum(memory.get("maximum", np.zeros_like(w)), second)
    mean = first / (1 - betas[0] ** t)
    square = second / (1 - betas[1] ** t)
    return w - lr * mean / (np.sqrt(square) + eps)


def adamw(
    w: Array,
    g: Array,
    t: int,
    memory: Memory,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
) -> Array:
    """AdamW: Adam with decoupled weight decay, which is not part of the moments.

    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101 (algorithm 2; the decay is multiplied by the learning rate, as in torch).
    """
    shrunk = (1 - lr * weight_decay) * w
    return adam(shrunk, g, t, memory, lr=lr, betas=betas, eps=eps, amsgrad=amsgrad)


REFERENCES: dict[str, Step] = {
    "sgd": sgd,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}
