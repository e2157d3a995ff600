"""PCA is principal component analysis; a random network stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrl.models import PCA, RandomNetwork, load_model, save_model


def images(n: int = 120) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    weights = torch.linspace(1, 0.05, 12)
    low = torch.randn(n, 12, generator=generator) * weights
    return (0.5 + 0.1 * low @ torch.randn(12, 3 * 6 * 6, generator=generator)).clamp(0, 1).unflatten(1, (3, 6, 6))


class TestPCA:
    def test_is_that_of_numpy(self) -> None:
        x = images()
        model = PCA((3, 6, 6), latent=5)
        model.count([(x[:50], None), (x[50:], None)])
        flat = x.flatten(1).double().numpy()
        _, values, vectors = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
        signs = np.sign((vectors[:5] * model.components.numpy()).sum(1))
        assert np.allclose(model.components.numpy(), signs[:, None] * vectors[:5], atol=1e-3)
        assert np.allclose(model.variance.numpy(), values[:5] ** 2 / (len(x) - 1), rtol=1e-4)
        assert np.allclose(model.encode(x).numpy(), (flat - flat.mean(0)) @ (signs[:, None] * vectors[:5]).T, atol=1e-3)

    def test_decodes_what_lies_in_its_components(self) -> None:
        x = images()
        model = PCA((3, 6, 6), latent=108)
        model.count([(x, None)])
        assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-3)

    def test_has_its_variance_in_the_order_of_its_components_and_below_the_whole(self) -> None:
        x = images()
        model = PCA((3, 6, 6), latent=5)
        model.count([(x, None)])
        assert (model.encode(x).var(0).diff() < 0).all()
        assert torch.isclose(model.total_variance, x.flatten(1).var(0).sum(), rtol=1e-4)
        assert model.variance.sum() < model.total_variance

    def test_draws_nothing_of_its_callers_random_numbers(self) -> None:
        torch.manual_seed(3)
        PCA((3, 6, 6), latent=5).count([(images(), None)])
        after = torch.rand(3)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(3), after)

    def test_refuses_fewer_images_than_components(self) -> None:
        with pytest.raises(ValueError, match="PCA needs images to be more than its 5 components, but was given 4"):
            PCA((3, 6, 6), latent=5).count([(images(4), None)])


def test_a_random_network_learns_nothing_and_is_saved(tmp_path: object) -> None:
    model = RandomNetwork((3, 16, 16), latent=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.count([(torch.rand(5, 3, 16, 16), None)])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    save_model(f"{tmp_path}/model.safetensors", model)
    x = torch.rand(5, 3, 16, 16)
    assert torch.equal(load_model(f"{tmp_path}/model.safetensors").encode(x), model.encode(x))
