"""Facts about packages with optimizers that their metadata and signatures do not state."""

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
