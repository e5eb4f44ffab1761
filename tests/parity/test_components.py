"""Loss, schedules, LARS, target update, views and ResNet features against DeepMind's numbers."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from byol.methods.byol import BYOL, Network
from byol.methods.losses import byol_loss, l2_normalize, regression_loss
from byol.nets.resnet import ResNet
from byol.optim.lars import LARS
from byol.optim.schedules import learning_rate, target_tau
from byol.views import color
from byol.views.blur import gaussian_blur, gaussian_kernel, kernel_radius
from byol.views.geometry import crop_resize, resize_matrix
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD
from tests.parity.arithmetic import ARITHMETICS, arithmetic
from tests.parity.haiku import GOLDEN, golden, our_layout, relative_error

PRECISIONS = [("f64", torch.float64, 1e-12), ("f32", torch.float32, 1e-6)]


@pytest.mark.parametrize(("key", "dtype", "tolerance"), PRECISIONS)
def test_loss_and_gradients_agree(key: str, dtype: torch.dtype, tolerance: float, device: torch.device) -> None:
    z = golden("loss")
    p1, p2, t1, t2 = (
        torch.from_numpy(z[f"in.{n}"]).to(device, dtype).requires_grad_()
        for n in ("pred1", "pred2", "tproj1", "tproj2")
    )

    def close(found: torch.Tensor, name: str) -> None:
        assert np.abs(found.detach().cpu().numpy() - z[f"{key}.{name}"]).max() <= tolerance, name

    close(regression_loss(p1, t2), "loss_per_sample_1")
    close(regression_loss(p2, t1), "loss_per_sample_2")
    close(l2_normalize(p1), "l2norm_pred1")
    loss = byol_loss(p1, p2, t1, t2)
    close(loss, "loss_sym_mean")
    loss.backward()
    assert p1.grad is not None
    assert p2.grad is not None
    close(p1.grad, "grad_sym_pred1")
    close(p2.grad, "grad_sym_pred2")
    assert t1.grad is None
    assert t2.grad is None


@pytest.mark.parametrize(("key", "dtype", "tolerance"), PRECISIONS)
def test_loss_of_tiny_vectors_agrees(key: str, dtype: torch.dtype, tolerance: float, device: torch.device) -> None:
    z = golden("loss")
    x = torch.from_numpy(z["in.eps_x"]).to(device, dtype).requires_grad_()
    y = torch.from_numpy(z["in.eps_y"]).to(device, dtype)
    loss = regression_loss(x, y)
    loss.sum().backward()
    assert np.abs(l2_normalize(x).detach().cpu().numpy() - z[f"{key}.eps_l2norm"]).max() <= tolerance
    assert np.abs(loss.detach().cpu().numpy() - z[f"{key}.eps_loss_per_sample"]).max() <= tolerance
    assert x.grad is not None
    rows = [i for i in range(9) if key == "f64" or i != 4]  # row 4 sits on the kink in float32
    expected = torch.from_numpy(z[f"{key}.eps_grad_x"])[rows]
    assert relative_error(x.grad[rows], expected) <= (1e-10 if key == "f64" else 1e-5)


def test_schedules_agree_at_every_setting() -> None:
    z = golden("schedules")
    for (base, batch, total, warmup, step), expected in zip(z["lr_settings"], z["lr_f64"], strict=True):
        found = learning_rate(int(step), base=base, batch_size=int(batch), total=int(total), warmup=int(warmup))
        assert found == pytest.approx(float(expected), rel=1e-6, abs=1e-6)
    for (base, total, step), expected in zip(z["ema_settings"], z["ema_f64"], strict=True):
        assert target_tau(int(step), base=base, total=int(total)) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("setting", ["A", "B", "C", "D"])
@pytest.mark.parametrize(("key", "dtype", "tolerance"), PRECISIONS)
def test_lars_five_steps_agree(
    setting: str, key: str, dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    z = golden("lars")
    s = json.loads(str(z["settings_json"]))[setting]
    names = [k.removeprefix("params0|") for k in z if k.startswith("params0|")]
    parameters = {n: nn.Parameter(torch.from_numpy(z[f"params0|{n}"]).to(device, dtype)) for n in names}
    excluded = [n for n in names if setting != "D" and (n.endswith("|b") or "norm" in n)]
    groups = [
        {"params": [p for n, p in parameters.items() if n not in excluded], "weight_decay": s["weight_decay"]},
        {"params": [parameters[n] for n in excluded], "adapt": False},
    ]
    optimizer = LARS(groups if excluded else groups[:1], momentum=s["momentum"], trust_coefficient=s["eta"])
    for step, rate in enumerate(z["lr"]):
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(z[f"grad{step}|{name}"]).to(device, dtype)
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.step()
        for name, parameter in parameters.items():
            for what, found in (("params", parameter), ("mu", optimizer.state[parameter]["momentum_buffer"])):
                expected = torch.from_numpy(z[f"{key}|{setting}|{what}{step + 1}|{name}"])
                error = (found.detach().cpu() - expected).abs().max() / max(1.0, float(expected.abs().max()))
                assert float(error) <= tolerance, (name, what, step)


def test_target_update_twelve_steps_agree(device: torch.device) -> None:
    z = golden("ema")
    made = BYOL(Network(nn.Linear(6, 4, bias=False).double(), nn.Identity()), nn.Identity(), mean=(0.0,), std=(1.0,))
    made.to(device)
    with torch.no_grad():
        made.target.encoder.weight.copy_(torch.from_numpy(z["target0"]))  # pyright: ignore[reportCallIssue]
        for step in range(12):
            made.online.encoder.weight.copy_(torch.from_numpy(z["online"][step]))  # pyright: ignore[reportCallIssue]
            tau = target_tau(step, base=float(z["base"]), total=int(z["max_steps"]))
            assert tau == pytest.approx(float(z["tau_f64"][step]), abs=1e-12)
            made.update_target(tau)
            assert np.abs(made.target.encoder.weight.cpu().numpy() - z["target_after_f64"][step]).max() <= 1e-12  # pyright: ignore


OPERATIONS = {
    "brightness_delta": color.add_brightness, "contrast_factor": color.scale_contrast,
    "saturation_factor": color.scale_saturation, "hue_delta": color.rotate_hue,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_views_color_operations_agree(name: str, device: torch.device) -> None:
    z = golden("augment_ops")
    for parameter, expected in zip(z[f"{name}.params"], z[f"{name}.out"], strict=True):
        found = OPERATIONS[name](pictures(z).to(device), torch.full((4,), float(parameter), device=device))
        assert float((found.cpu().permute(0, 2, 3, 1) - torch.from_numpy(expected)).abs().max()) <= 1e-5


def pictures(z: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(z["images_u8"][z["op_image_index"]]).permute(0, 3, 1, 2).float() / 255


def test_views_other_operations_agree(device: torch.device) -> None:
    z = golden("augment_ops")
    images = pictures(z).to(device)
    found = {
        "grayscale": color.grayscale(images), "solarize": color.solarize(images),
        "flip": crop_resize(images, torch.tensor([[0, 0, 64, 64]] * 4), 64, flip=torch.ones(4, dtype=torch.bool))[:1],
    }  # fmt: skip
    for name, views in found.items():
        assert float((views.cpu().permute(0, 2, 3, 1) - torch.from_numpy(z[f"{name}.out"])).abs().max()) <= 1e-5, name
    for sigma, expected in zip(z["blur.sigma"], z["blur.out"], strict=True):
        blurred = gaussian_blur(images, torch.full((4,), float(sigma), device=device))
        assert float((blurred.cpu().permute(0, 2, 3, 1) - torch.from_numpy(expected)).abs().max()) <= 1e-5
    for size in (32, 64, 96, 128, 160, 224):
        kernel = gaussian_kernel(torch.tensor([1.3], device=device), kernel_radius(size))[0]
        assert np.abs(kernel.cpu().numpy() - z[f"blur_kernel_1d.H{size}.sigma1.3"]).max() <= 1e-6


def test_views_resize_agrees(device: torch.device) -> None:
    z = golden("resize_bicubic")
    for name, tolerance in (("8to16", 1e-6), ("16to8", 1e-6), ("10to7", 5e-4), ("5to5", 0), ("12to32", 1e-6)):
        source, size = map(int, name.split("to"))
        start, length = torch.zeros(1, device=device), torch.tensor([float(source)], device=device)
        found = resize_matrix(start, length, source, size)[0]
        assert np.abs(found.cpu().numpy() - z[f"weights_{name}"]).max() <= tolerance, name
    for i in (0, 1):
        image = torch.from_numpy(z[f"noise{i}.in_u8"]).permute(2, 0, 1)[None].to(device)
        found = crop_resize(image, torch.tensor([[0, 0, image.shape[2], image.shape[3]]]), 32)
        assert np.abs(found[0].permute(1, 2, 0).cpu().numpy() - z[f"noise{i}.out"]).max() <= 1e-6


def regenerated(depth: int) -> ResNet:
    """The network with the weights that the golden features were computed with."""
    description = json.loads((GOLDEN / f"names_resnet{depth}.json").read_text())
    last = "batchnorm_1" if depth == 18 else "batchnorm_2"
    random, state = np.random.RandomState(description["seed"]), {}
    for t in description["tensors"]:
        z = random.standard_normal(t["shape"])
        values = {
            "w": z * np.sqrt(2 / np.prod(t["shape"][:-1])), "scale": (1 + 0.1 * z) * (0.25 if t["module"].endswith(last) else 1),
            "offset": 0.1 * z, "mean_ema": 0.1 * z, "var_ema": np.exp(0.3 * z),
        }  # fmt: skip
        kind = next(k for k in values if t["name"] == k or t["module"].endswith(k))
        tensor = values[kind].astype(np.float32)
        assert float(tensor.sum(dtype=np.float64)) == pytest.approx(t["sum"], rel=1e-4, abs=1e-3)
        state[t["torch"]] = our_layout(tensor, "w" if kind == "w" else "scale")
    net = ResNet(depth, conventions="deepmind")
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("hidden" in name or "num_batches" in name for name in missing)
    return net.double()


def normalized(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """(N, 3, S, S) float64: (N, S, S, 3) uint8 images as the networks of the golden features take them."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).double().permute(0, 3, 1, 2)
    return ((images - mean) / std).to(device)


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_features_agree(depth: int, device: torch.device) -> None:
    z = golden("resnet_features")
    net = regenerated(depth).to(device)
    with torch.no_grad():
        for size, mode, key in ((64, "eval", "x64_u8"), (224, "eval", "big_u8"), (64, "train", "x64_u8")):
            net.train(mode == "train")
            expected = torch.from_numpy(z[f"resnet{depth}.{size}.{mode}.features|f64"])
            assert relative_error(net(normalized(z[key], device)), expected) < 1e-10, (size, mode)


FEATURE_TOLERANCES = {"float32": (5e-6, 2e-5), "tf32": (2e-3, 1e-2), "bf16": (2e-2, 1e-1)}
"""Largest relative errors in eval mode and in train mode: three to five times those on a CPU, where TF32 was emulated."""


@pytest.mark.parametrize("kind", ARITHMETICS)
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_features_in_lower_precision_stay_close(depth: int, kind: str, device: torch.device) -> None:
    z = golden("resnet_features")
    net = regenerated(depth).float().to(device)
    images = normalized(z["x64_u8"], device).float()
    for mode, tolerance in zip(("eval", "train"), FEATURE_TOLERANCES[kind], strict=True):
        net.train(mode == "train")
        with torch.no_grad(), arithmetic(kind, device):
            found = net(images)
        assert relative_error(found, torch.from_numpy(z[f"resnet{depth}.64.{mode}.features|f64"])) < tolerance, mode
