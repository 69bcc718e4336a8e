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
#: classes that estimate their step size, without the parameter `d0` of D-Adaptation, by which the others are recognised
RATE_FREE = frozenset({"pytorch_optimizer.AdamG"})
#: classes whose steps ignore changes of `lr`, with the settings with which they do not (check `schedule` of `optbench verify`)
IGNORES_RATE: dict[str, dict[str, Any]] = {
    "pytorch_optimizer.AdaFactor": {"relative_step": False},
    "pytorch_optimizer.ApolloDQN": {"warmup_steps": 0},
    "pytorch_optimizer.ASGD": {},
}
#: classes with a schedule of their own; those with schedule-free averaging are recognised by their parameter `weight_lr_power`
OWN_SCHEDULE = {"pytorch_optimizer.Ranger21": "has a warmup and a decay of its own"}
#: classes whose step fails for parameters that are not matrices
MATRICES_ONLY = frozenset(
    {
        "muon.Muon",
        "muon.SingleDeviceMuon",
        "pytorch_optimizer.LoRARite",
        "pytorch_optimizer.SpectralSphere",
        "torch.optim.Muon",
    }
)
#: packages whose classes were measured (docs/optimizer-packages.md), so that `check` imports them without taking steps
MEASURED = frozenset(
    (
        *(
            "adabelief_pytorch",
            "adam_mini",
            "bitsandbytes",
            "came_pytorch",
            "dadaptation",
            "heavyball",
            "kron_torch",
        ),
        *(
            "lion_pytorch",
            "muon",
            "optimi",
            "prodigyopt",
            "prodigyplus",
            "pytorch_optimizer",
            "pytorch_ranger",
        ),
        *("schedulefree", "timm", "torch", "torch_optimizer", "torchao"),
    )
)
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
