"""The catalog's models and what a suite may name instead."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from optbench.catalog.lookup import items
from optbench.catalog.models import test_function
from optbench.catalog.types import DataInfo
from optbench.engine.models import build_model
from optbench.errors import OptbenchError
from optbench.suite.types import Component

IMAGE_MODELS = ("small_cnn", "resnet20", "resnet18_cifar", "vit_tiny")
STANDARD = {
    "mlp": ((1, 28, 28), 269_322),
    "logistic_regression": ((1, 28, 28), 7_850),
    "small_cnn": ((1, 28, 28), 94_186),
    "resnet20": ((3, 32, 32), 269_722),
    "resnet18_cifar": ((3, 32, 32), 11_173_962),
    "vit_tiny": ((3, 32, 32), 2_693_194),
}


def build(
    name: str, shape: tuple[int, ...], classes: int = 10, folder: str = ".", **arguments: object
) -> nn.Module:
    info = DataInfo(0, 0, 0, shape, classes)
    return build_model(Component(name=name, arguments=arguments), info, folder)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


#: models of other tasks than classification; their tests are those of their family
OTHERS = {
    "gpt",
    "recurrent",
    "recurrent_language_model",
    "causal_transformer",
    "matrix_factorisation",
    "two_tower",
    "test_function",
    "vae",
}


def test_every_catalog_model_has_a_published_size() -> None:
    assert {*STANDARD, *OTHERS} == set(items("models"))


@pytest.mark.parametrize("name", STANDARD)
def test_parameter_count_is_the_one_its_docstring_states(name: str) -> None:
    shape, count = STANDARD[name]
    assert parameters(build(name, shape)) == count
    assert f"{count:,}" in (import_module(f"optbench.catalog.models.{name}").build.__doc__ or "")


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 40, 32)])
@pytest.mark.parametrize("name", STANDARD)
def test_every_model_takes_every_usual_image(name: str, shape: tuple[int, int, int]) -> None:
    model = build(name, shape, 7)
    outputs = model(torch.rand(2, *shape))
    assert outputs.shape == (2, 7)
    outputs.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {}),
        ("squeezenet1_1", {}),
        (  # ViT-S/4
            "VisionTransformer",
            {"patch_size": 4, "num_layers": 12, "num_heads": 6, "hidden_dim": 384, "mlp_dim": 1536},
        ),
    ],
)
def test_models_of_torchvision_are_built_for_the_classes_and_size_of_the_data(
    name: str, arguments: dict[str, int]
) -> None:
    model = build(f"torchvision.models.{name}", (3, 32, 32), 7, **arguments).eval()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["mlp", "logistic_regression"])
def test_flat_models_take_vectors(name: str) -> None:
    assert build(name, (20,), 3)(torch.rand(2, 20)).shape == (2, 3)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_image_models_refuse_vectors_by_name(name: str) -> None:
    with pytest.raises(OptbenchError, match=f"{name} needs images"):
        build(name, (20,))


@pytest.mark.parametrize("name", STANDARD)
def test_one_seed_gives_one_start(name: str) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build(name, (3, 16, 16)).state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


@pytest.mark.parametrize("name", ["small_cnn", "resnet20", "resnet18_cifar"])
def test_channels_last_changes_no_value_much(name: str) -> None:
    model = build(name, (3, 16, 16)).eval()
    images = torch.rand(4, 3, 16, 16)
    expected = model(images)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(model(images.contiguous(memory_format=torch.channels_last)), expected)


def test_a_test_function_changes_the_scale_of_its_gradient_and_not_of_its_metrics() -> None:
    model = test_function.build(1, function="quadratic", start=[1.0], factors=[1, 10], period=2)
    seen = [model(torch.zeros(1, 1))[0].tolist() for _ in range(5)]
    assert seen == [[factor * 0.5, 0.5, 1.0] for factor in (1, 1, 10, 10, 1)]
    assert model.eval()(torch.zeros(1, 1))[0].tolist() == seen[-1]  # evaluations do not count


@pytest.mark.parametrize(
    ("factors", "period", "words"),
    [
        ([1, 10], 0, "factors: requires a 'period' of at least 1; found factors"),
        ([], 5, "factors: requires a 'period' of at least 1"),
        ([1, 0], 5, "factors: expected numbers above 0"),
    ],
)
def test_factors_of_a_test_function_need_a_period_and_are_positive(
    factors: list[float], period: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        test_function.build(2, factors=factors, period=period)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("mlp", {"activation": "rely"}, "one of relu, gelu, tanh, silu; found 'rely'"),
        ("mlp", {"hidden": [0]}, "widths of at least 1"),
        ("small_cnn", {"norm": "layer"}, "batch, group or none"),
        ("vit_tiny", {"patch": 5}, "a divisor of the picture's 16x16 pixels; found 5"),
        ("vit_tiny", {"heads": 5}, "a divisor of dim 192; found 5"),
        ("mlp", {"widht": 3}, "unexpected keyword argument 'widht'"),
    ],
)
def test_senseless_arguments_are_explained(name: str, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(OptbenchError, match=words):
        build(name, (3, 16, 16), **arguments)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_small_cnn_has_the_normalisation_requested(norm: str) -> None:
    kinds = {type(module) for module in build("small_cnn", (1, 8, 8), norm=norm).modules()}
    assert (nn.BatchNorm2d in kinds) == (norm == "batch")
    assert (nn.GroupNorm in kinds) == (norm == "group")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet.googlenet", "squeezenet1_0"])
def test_torchvision_classifiers_get_the_number_of_classes(name: str) -> None:
    model = build(f"torchvision.models.{name}", (3, 64, 64), 7)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_torchvision_resnet50_is_the_published_one() -> None:
    assert parameters(build("torchvision.models.resnet50", (3, 64, 64), 1000)) == 25_557_032


def test_a_small_torchvision_transformer_has_the_parameters_of_its_paper() -> None:
    """ViT-S/16 of Touvron et al. 2021 (2012.12877, DeiT-S): 22 million."""
    sizes = {"patch_size": 16, "num_layers": 12, "num_heads": 6, "hidden_dim": 384, "mlp_dim": 1536}
    model = build("torchvision.models.VisionTransformer", (3, 224, 224), 1000, **sizes)
    assert parameters(model) == 22_050_664


def test_a_model_that_the_images_do_not_fit_is_explained() -> None:
    message = r"vit_b_32, for data of shape \(3, 60, 60\): Input shape indivisible by patch size!"
    with pytest.raises(OptbenchError, match=message):
        build("torchvision.models.vit_b_32", (3, 60, 60))


def test_a_torchvision_transformer_gets_the_image_size() -> None:
    assert build("torchvision.models.vit_b_32", (3, 64, 64), 4)(torch.rand(1, 3, 64, 64)).shape == (1, 4)


def write(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text("import torch\nfrom torch import nn\n\n" + body)
    return str(folder)


Make = Callable[[Path], nn.Module]


def test_a_class_in_a_file_gets_what_its_signature_names(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "class Net(nn.Module):\n"
        "    def __init__(self, in_channels, image_size, num_classes, width=4):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(in_channels, width, image_size)\n"
        "        self.head = nn.Linear(width, num_classes)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.conv(x).flatten(1))\n",
    )
    model = build("mine.py:Net", (3, 8, 8), 5, folder, width=6)
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    assert model.conv.out_channels == 6


def test_a_file_with_build_is_used_like_a_catalog_item(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "def build(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))\n",
    )
    model = build("mine.py", (1, 4, 4), 3, folder)
    assert parameters(model) == 51


def test_building_leaves_modes_and_statistics_alone(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "def make(classes):\n"
        "    frozen = nn.BatchNorm1d(8).eval()\n"
        "    return nn.Sequential(frozen, nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, classes))\n",
    )
    model = build("mine.py:make", (8,), 3, folder)
    assert [module.training for module in model] == [False, True, True, True]
    assert torch.equal(model[1].running_mean, torch.zeros(8))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "def make():\n    return nn.Linear(8, 4)\n",
            r"expected outputs of shape \(batch, 3\).*found \(batch, 4\)",
        ),
        ("def make():\n    return nn.Linear(9, 3)\n", r"does not accept inputs of shape \(8,\)"),
        ("def make():\n    return 3\n", "expected a torch.nn.Module; found a int"),
        ("def make(depth):\n    return nn.Linear(8, 3)\n", "depth"),
    ],
)
def test_a_model_that_does_not_fit_is_explained(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(OptbenchError, match=words):
        build("mine.py:make", (8,), 3, write(tmp_path, body))
