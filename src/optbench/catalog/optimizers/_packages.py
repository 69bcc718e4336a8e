"""Facts about packages with optimizers that their metadata and signatures do not state."""

from typing import Any

#: packages whose metadata does not require torch, with the modules that have their optimizers
PACKAGES = {
    "adam-mini": ("adam_mini",),
    "dadaptation": ("dadaptation",),
    "muon-optimizer": ("muon",),
    "prodigyopt": ("prodigyopt",),
    "torch": ("torch",),
    "torchao": ("torchao",),
}
#: classes that are exported but only exist to be subclassed or used by others
BASE_CLASSES = frozenset[str]()
_MOMENTUM = {"momentum": 0.9}  # the class refuses its own default
#: by class: arguments that it requires although they have a default
REQUIRED: dict[str, dict[str, Any]] = {
    "bitsandbytes.optim.LARS": _MOMENTUM,
    "bitsandbytes.optim.LARS32bit": _MOMENTUM,
    "bitsandbytes.optim.LARS8bit": _MOMENTUM,
    "bitsandbytes.optim.PytorchLARS": _MOMENTUM,
    "bitsandbytes.optim.SGD": _MOMENTUM,
    "bitsandbytes.optim.SGD32bit": _MOMENTUM,
    "bitsandbytes.optim.SGD8bit": _MOMENTUM,
    "came_pytorch.CAME": {"lr": 2e-4},
    "schedulefree.ScheduleFreeWrapper": {"base": {"use": "torch.optim.SGD", "lr": 0.01}},
    "schedulefree.ScheduleFreeWrapperReference": {"base": {"use": "torch.optim.SGD", "lr": 0.01}},
    "timm.optim.SGDP": {"lr": 0.01},
    "optimi.StableAdamW": {"triton": False},  # it detects Triton, but not whether there is a GPU
    "heavyball.SAMWrapper": {"wrapped_optimizer": {"use": "heavyball.SFAdamW"}},
}
