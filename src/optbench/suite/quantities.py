"""Names of the quantities that a statement can be about; `analysis/trial_quantities.py` computes them."""

from __future__ import annotations

from collections.abc import Iterable

from optbench.errors import nearest

#: prefixes of metrics: the last value on the validation split, its mean over all evaluations, and the final value on the test split
SPLITS = ("validation", "mean_validation", "test")

QUANTITIES = {
    "final_metric": "final metric of the table; the worst value for trials that diverged or failed",
    "validation_metric": "last validation value of the first metric; the worst value for trials that diverged or failed",
    "reached": "share of trials that reached the target",
    "diverged": "share of trials that diverged",
    "completed": "share of trials that did not diverge, run out of memory or fail in the optimizer",
    "failed_to_train": "share of trials that diverged, ran out of memory or failed in the optimizer",
    "epochs_to_target": "median epochs to the target, with censored trials",
    "steps_to_target": "median steps to the target, with censored trials",
    "samples_to_target": "median samples to the target, with censored trials",
    "seconds_to_target": "median training seconds to the target, with censored trials",
    "gradient_evaluations_to_target": "median forward and backward passes to the target, with censored trials",
    "state_multiple": "bytes of optimizer state over bytes of the parameters",
    "state_bytes": "bytes of optimizer state",
    "step_peak_bytes": "transient bytes of an optimizer step",
    "peak_memory_bytes": "peak of the GPU's allocator in bytes",
    "activation_bytes": "bytes kept for the backward pass of one batch; requires `study: costs`",
    "training_bytes": "bytes of parameters, gradients, optimizer state and activations; requires `study: costs`",
    "flops_per_update": "floating-point operations per update; requires `study: costs`",
    "seconds_per_update": "training seconds per update",
    "seconds_per_epoch": "training seconds per epoch",
    "loss_rises": "share of updates whose loss is above that of the previous update",
    "clipped_steps": "share of steps whose gradient was clipped",
    "skipped_steps": "number of steps that the gradient scaler skipped",
    "rate_drops": "number of evaluations at which the learning rate is lower than at the one before",
    "exploded_steps": "number of steps with an exploding gradient; requires `study: gradients`",
    "vanished_steps": "number of steps with a vanishing gradient; requires `study: gradients`",
    "gradient_norm_max": "maximum gradient norm; requires `study: gradients`",
    "gradient_norm_first": "maximum gradient norm until the first evaluation; requires `study: gradients`",
    "gradient_norm_growth": "maximum gradient norm between the first two evaluations over the median before; requires `study: gradients`",
    "gradient_variance_start": "total variance of the gradient of a batch at the initial weights; requires `study: noise`",
    "gradient_variance_end": "total variance of the gradient of a batch at the last weights; requires `study: noise`",
    "embedding_norm_max": "largest norm of a row of the embedding tables at the last weights",
    "gradient_noise_start": "gradient noise scale at the initial weights, in samples; requires `study: noise`",
    "gradient_noise_end": "gradient noise scale at the last weights, in samples; requires `study: noise`",
    "gradient_evaluations": "number of forward and backward passes",
    "data_wait": "share of the training time spent waiting for data",
}

#: what a quantity needs, where trials may lack it
NEEDS = {
    "peak_memory_bytes": ": needs a GPU",
    "activation_bytes": ": needs `study: costs`",
    "training_bytes": ": needs `study: costs`",
    "flops_per_update": ": needs `study: costs`",
    "gradient_norm_max": ": needs `study: gradients`",
}

#: units of quantities that have one; metrics have that of the workload
UNITS = {
    "fraction": (
        *("reached", "diverged", "completed", "failed_to_train"),
        *("loss_rises", "clipped_steps", "data_wait"),
    ),
    "epochs": ("epochs_to_target",),
    "steps": ("steps_to_target", "skipped_steps", "exploded_steps", "vanished_steps"),
    "samples": ("samples_to_target", "gradient_noise_start", "gradient_noise_end"),
    "seconds": ("seconds_to_target", "seconds_per_update", "seconds_per_epoch"),
    "passes": ("gradient_evaluations_to_target", "gradient_evaluations"),
    "x": ("state_multiple",),
    "bytes": (
        *("state_bytes", "step_peak_bytes", "peak_memory_bytes"),
        *("activation_bytes", "training_bytes"),
    ),
}


def unit_of(quantity: str) -> str:
    """Return the unit of a quantity, a key of `UNITS`; "" if it has none."""
    return next((unit for unit, names in UNITS.items() if quantity in names), "")


def unknown_quantity(name: str, metrics: Iterable[str]) -> str:
    """Return why a suite with these metrics has no quantity of this name; "" if it has."""
    split, dot, metric = name.partition(".")
    if dot and split in SPLITS:
        known = dict.fromkeys((*metrics, "loss"))
        return "" if metric in known else f"no metric '{metric}'; {nearest(metric, known)}"
    return "" if name in QUANTITIES else f"no quantity '{name}'; {nearest(name, QUANTITIES)}"
