"""Which optimizers may be sharded: those whose update of an element depends on the state and gradient of that element only."""

from __future__ import annotations

from optbench.catalog import lookup
from optbench.errors import OptbenchError

#: elementwise classes of torch.optim; Rprop is too, but its step does not run on sharded tensors
ELEMENTWISE = ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")
#: settings of `implementation` that run on sharded tensors
IMPLEMENTATIONS = ("default", "forloop", "foreach")


def why_not_sharded(use: str, folder: str) -> str:
    """Return why the optimizer cannot be sharded, empty if it can be. Unknown names return an empty text."""
    try:
        target = lookup.resolve("optimizers", use, folder)
    except OptbenchError:
        return ""
    name = target.attribute.rpartition(".")[2]
    if target.module.partition(".")[0] == "torch" and name in ELEMENTWISE:
        return ""
    return (
        f"'{use}' may need whole matrices: `sharding` is for optimizers that update each element independently "
        f"({', '.join(ELEMENTWISE)} of torch.optim); expected `sharding: none`"
    )
