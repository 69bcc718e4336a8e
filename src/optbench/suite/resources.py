"""What a suite requires of the machines that run its trials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from optbench.suite.field_types import Strict, Whole


class Resources(Strict):
    """Requirements on the machines that run the trials, checked before anything runs. They are not part of a trial's id."""

    gpu: Whole | None = Field(default=None, ge=0, le=1024)
    """Number of GPUs per trial and node, as many as the workload has `devices`. 0: trials run on the CPU, also where there is a GPU."""
    accelerator_type: Annotated[str, Field(min_length=1)] | None = None
    """Type of the GPU: a word of its name, such as H100. Other GPUs are not used."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gpu == 0 and self.accelerator_type is not None:
            raise ValueError("`gpu: 0` uses no GPU: expected 1 or more, or no 'accelerator_type'")
        return self

    @property
    def needs_gpu(self) -> bool:
        """Whether trials cannot run on a CPU."""
        return bool(self.gpu) or self.accelerator_type is not None

    def accepts(self, gpu_name: str) -> bool:
        """Return whether a GPU of this name, such as "NVIDIA H100 80GB HBM3", has the type."""
        return self.accelerator_type is None or _words(self.accelerator_type) <= _words(gpu_name)

    def are_met_by(self, environment: Mapping[str, Any]) -> bool:
        """Return whether a device meets the requirements. `environment`: that of a record on it."""
        is_gpu = environment.get("device") != "cpu"
        return not self.needs_gpu or (is_gpu and self.accepts(str(environment.get("device_name", ""))))

    def __str__(self) -> str:
        if not self.needs_gpu:
            return "a CPU" if self.gpu == 0 else "any device"
        return "a GPU" if self.accelerator_type is None else f"a GPU of type {self.accelerator_type}"


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\s\-_/()]+", name.lower()))
