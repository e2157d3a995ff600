"""JEPA: SIGReg is the statistic that it says, and keeps codes from collapsing; predictable things stay in the code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genrl.models import JEPA, fit
from genrl.models.jepa import sigreg
from genrl.models.sources import TensorSource


def directions(n: int, size: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(1)))


class TestSIGReg:
    def test_of_two_numbers_is_what_a_hand_computes(self) -> None:
        t = np.linspace(0, 3, 17)
        window = np.exp(-(t**2) / 2)
        expected = 0.0
        for u in (1.0, -1.0):
            ecf = (np.exp(1j * t * u * 0.5) + np.exp(1j * t * u * 2.0)) / 2
            expected += 2 * 2 * np.trapezoid(np.abs(ecf - window) ** 2 * window, t) / 2
        found = sigreg(torch.tensor([[0.5], [2.0]], dtype=torch.float64), torch.tensor([[1.0], [-1.0]], dtype=torch.float64))
        assert math.isclose(float(found), expected, rel_tol=1e-12)

    def test_of_a_point_at_the_origin_is_the_integral_in_closed_form(self) -> None:
        # ∫ (1 - w)² w over the real line, w = exp(-t²/2): √(2π) (1 - 2/√2 + 1/√3); knots end at 3, where w is 0.011
        whole = math.sqrt(2 * math.pi) * (1 - 2 / math.sqrt(2) + 1 / math.sqrt(3))
        found = float(sigreg(torch.zeros(50, 2, dtype=torch.float64), directions(8, 2).double())) / 50
        assert abs(found - whole) < 0.01

    def test_of_normal_codes_is_small_for_any_number_of_them_and_of_others_grows_with_it(self) -> None:
        generator = torch.Generator().manual_seed(0)
        few, many = (torch.randn(n, 4, generator=generator) for n in (200, 5_000))
        u = directions(64, 4)
        expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))  # ∫ (1 - w²) w, w = exp(-t²/2): its mean, 1.06
        for codes in (few, many):
            assert abs(float(sigreg(codes, u)) - expected) < 0.5
        assert float(sigreg(2 * many, u)) > 15 * float(sigreg(2 * few, u)) > 15 * expected

    def test_pushes_a_cloud_towards_a_standard_normal(self) -> None:
        z = (0.1 * torch.randn(256, 2, generator=torch.Generator().manual_seed(0)) + 1).requires_grad_()
        optimizer = torch.optim.Adam([z], 0.05)
        for step in range(300):
            optimizer.zero_grad()
            sigreg(z, F.normalize(torch.randn(64, 2, generator=torch.Generator().manual_seed(step)))).backward()
            optimizer.step()
        assert z.mean(0).abs().max() < 0.15
        assert ((z.std(0) - 1).abs() < 0.2).all()


def walks(n: int = 600, side: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A bright square that an action moves along, before noise that is new in every frame; where the square is."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(1, side - 5, (n,), generator=generator)
    action = torch.randint(-1, 2, (n, 1), generator=generator).float()

    def drawn(where: torch.Tensor) -> torch.Tensor:
        frames = torch.randint(100, (n, 1, side, side), dtype=torch.uint8, generator=generator)
        for i, x in enumerate(where.long().tolist()):
            frames[i, :, 6:10, x : x + 4] = 255
        return frames

    return drawn(place), action, drawn(place + action[:, 0]), place.float()


def variance_explained(codes: torch.Tensor, target: torch.Tensor) -> float:
    x = torch.cat([codes, torch.ones(len(codes), 1)], dim=1)
    half = len(x) // 2
    weights = torch.linalg.lstsq(x[:half], target[:half, None]).solution
    return 1 - float((x[half:] @ weights - target[half:, None]).square().mean() / target[half:].var())


def test_codes_do_not_collapse_and_tell_where_the_thing_is() -> None:
    frames, action, following, place = walks()
    torch.manual_seed(0)
    model = JEPA((1, 16, 16), latent=4, action=1, width=16, hidden=(32,))
    fit(model, TensorSource(frames, action, following), epochs=30, batch_size=60, learning_rate=2e-3, average=0, progress=False)
    with torch.no_grad():
        codes = model.encode(frames.float() / 255)
    assert (codes.std(0) > 0.4).all()
    assert variance_explained(codes, place) > 0.9


def test_without_sigreg_they_collapse() -> None:
    frames, action, following, _ = walks()
    torch.manual_seed(0)
    model = JEPA((1, 16, 16), latent=4, action=1, width=16, hidden=(32,), weight=0.0)
    fit(model, TensorSource(frames, action, following), epochs=30, batch_size=60, learning_rate=2e-3, average=0, progress=False)
    with torch.no_grad():
        assert model.encode(frames.float() / 255).std(0).max() < 0.1


def test_every_parameter_gets_a_gradient() -> None:
    model = JEPA((3, 32, 32), latent=4, action=2)
    loss, measured = model.loss(torch.rand(6, 3, 32, 32), torch.rand(6, 2), torch.rand(6, 3, 32, 32))
    loss.backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())
    assert math.isclose(float(loss.detach()), float(measured["prediction"] + 0.05 * measured["sigreg"]), rel_tol=1e-5)


def test_other_actions_are_refused() -> None:
    x = torch.rand(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"takes actions \(batch, 2\), but was given \(2, 1\)"):
        JEPA((3, 32, 32), action=2).loss(x, torch.zeros(2, 1), x)
