"""An encoder is one object and one file: its codes are the same after a load, and a file that was changed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from genrl.data import ImageError, Images
from genrl.encoders import ImageEncoder, Preprocessing, load_encoder
from genrl.encoders.encoder import CLIP, FLOOR
from genrl.files import load_state, save_state
from genrl.models import GAN, JEPA, MAE, PCA, VAE, Diffusion, EnergyModel, NaiveBayes, PixelCNN, RandomNetwork, RealNVP
from genrl.models.base import ImageModel, save_model
from genrl.models.code_prior import CodePrior
from tests.encoders.eyes import SHAPE, reader, small_vae


def pictures(n: int = 40, shape: tuple[int, int, int] = (3, 16, 16)) -> Images:
    return Images(torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))


class TestPreprocessing:
    def test_cuts_then_resizes_then_greys_then_rounds(self) -> None:
        x = pictures(4, (3, 20, 24)).pixels
        made = Preprocessing((3, 20, 24), crop=(2, 2, 0, 8), size=8, grey=True, levels=4)(x)
        means = x[:, :, 2:18, :16].float().unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5)).round()
        grey = (means * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True).round()
        assert torch.equal(made, (grey / 64).floor() / 3)

    def test_nothing_asked_for_is_the_bytes_over_255(self) -> None:
        x = pictures(4).pixels
        assert torch.equal(Preprocessing((3, 16, 16))(x), x.float() / 255)

    def test_a_crop_that_leaves_nothing_is_refused(self) -> None:
        with pytest.raises(ImageError, match=r"crop of \(8, 8, 0, 0\).*leaves nothing of 16 × 16.*cut off less"):
            Preprocessing((3, 16, 16), crop=(8, 8, 0, 0))

    def test_other_images_are_refused(self) -> None:
        with pytest.raises(ImageError, match="are 3 × 16 × 16, but must be 3 × 8 × 8"):
            Preprocessing((3, 8, 8))(pictures(2).pixels)


class TestCodes:
    def test_have_mean_0_and_standard_deviation_1_over_the_images_they_were_measured_on(self) -> None:
        encoder = ImageEncoder.of(RandomNetwork((3, 16, 16), latent=6), Preprocessing((3, 16, 16)), pictures(200))
        codes = encoder(pictures(200).pixels)
        assert torch.allclose(codes.mean(0), torch.zeros(6), atol=1e-4)
        assert torch.allclose(codes.std(0), torch.ones(6), atol=1e-3)

    def test_a_number_that_means_nothing_is_not_blown_up(self) -> None:
        class Flat(PCA):
            def encode(self, x: torch.Tensor) -> torch.Tensor:
                return super().encode(x) * torch.tensor([1.0, 1e-6])

        model = Flat((3, 16, 16), latent=2)
        model.count([(pictures().batch(), None)])
        encoder = ImageEncoder.of(model, Preprocessing((3, 16, 16)), pictures())
        assert encoder(pictures().pixels)[:, 1].abs().max() < 1e-3
        assert torch.isclose(encoder.std[1], FLOOR * encoder.std[0])

    def test_are_clipped(self) -> None:
        encoder = reader()
        encoder.std.fill_(1e-3)
        assert encoder(torch.full((1, *SHAPE), 255, dtype=torch.uint8)).tolist() == [[CLIP] * 3]

    def test_of_many_numbers_are_projected_on_their_principal_components(self) -> None:
        class Raw(PCA):
            def encode(self, x: torch.Tensor) -> torch.Tensor:
                return self.checked(x).flatten(1)

        torch.manual_seed(0)
        images = Images((torch.randn(300, 1, 4, 4) @ torch.randn(4, 4)).mul(20).add(128).clamp(0, 255).byte())
        encoder = ImageEncoder.of(Raw((1, 4, 4), latent=1), Preprocessing((1, 4, 4)), images, most=3)
        x = images.batch().flatten(1)
        expected = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:3]
        assert encoder.size == 3
        assert torch.allclose((encoder.basis.T @ expected.T).abs(), torch.eye(3), atol=1e-3)
        assert torch.allclose(encoder(images.pixels).std(0), torch.ones(3), atol=1e-3)

    def test_of_a_model_in_float64_are_in_float64(self) -> None:
        model, images = VAE((3, 16, 16), latent=2, hidden=(4,)), pictures()
        single = ImageEncoder.of(model, Preprocessing((3, 16, 16)), images)(images.pixels)
        double = ImageEncoder.of(model.double(), Preprocessing((3, 16, 16)), images)(images.pixels)
        assert double.dtype == torch.float64
        assert torch.allclose(double.float(), single, atol=1e-3)

    def test_of_a_constant_model_are_refused(self) -> None:
        model = VAE((3, 16, 16), latent=2, hidden=(4,))
        nn.init.zeros_(model.to_posterior.weight)
        with pytest.raises(ValueError, match=r"VAE gives every image the same code.*has not learnt; fit it longer"):
            ImageEncoder.of(model, Preprocessing((3, 16, 16)), pictures())


class TestFile:
    @pytest.mark.parametrize("make", [reader, small_vae, lambda: small_vae().double()], ids=["of bytes", "vae", "in float64"])
    def test_gives_the_same_codes_bit_for_bit(self, make: type, tmp_path: Path) -> None:
        encoder = make()
        encoder.save(tmp_path / "encoder.safetensors")
        x = pictures(5, SHAPE).pixels
        for path in (tmp_path, tmp_path / "encoder.safetensors"):
            again = load_encoder(path)
            assert torch.equal(again(x), encoder(x))
            assert again.hash == encoder.hash
            assert not any(item.requires_grad for item in again.parameters())
            assert not any(part.training for part in again.train().modules())

    def test_of_other_weights_or_preprocessing_has_another_hash(self) -> None:
        hashes = {reader().hash, reader().hash, small_vae().hash, small_vae(1).hash}
        other = reader()
        other.model.components[0, 1] = 0.5
        scaled = ImageEncoder(other.model, Preprocessing((3, 16, 16), size=8), other.mean, other.std)
        assert len(hashes | {other.hash, scaled.hash}) == 5

    def test_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "encoder.safetensors"
        reader().save(path)
        state = load_state(path)
        state["weights"]["components"][0, 0] = 0.5
        save_state(path, state)
        with pytest.raises(ValueError, match=r"was changed since it was written.*restore it from a copy"):
            load_encoder(path)

    def test_that_is_not_there_or_is_something_else_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"there is no encoder .*nowhere; fit one with: genrl generate"):
            load_encoder(tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match=r"has no encoder.safetensors; give the directory of a run of `genrl generate`"):
            load_encoder(tmp_path)
        save_model(tmp_path / "model.safetensors", NaiveBayes((3, 8, 8)))
        with pytest.raises(FileNotFoundError, match=r"holds a NaiveBayes, which encodes nothing; fit another model"):
            load_encoder(tmp_path)
        save_model(tmp_path / "model.safetensors", PCA((3, 8, 8)))
        with pytest.raises(FileNotFoundError, match=r"has a model but no encoder.safetensors yet; .*genrl resume"):
            load_encoder(tmp_path)
        save_state(tmp_path / "encoder.safetensors", {"model": "PCA"})
        with pytest.raises(ValueError, match="holds no encoder"):
            load_encoder(tmp_path)

    def test_of_a_model_that_was_told_classes_says_that_it_leaves_none(self, tmp_path: Path) -> None:
        save_model(tmp_path / "model.safetensors", Diffusion((1, 8, 8), width=32, steps=2, n_classes=3))
        with pytest.raises(FileNotFoundError, match=r"holds a Diffusion that was told classes, which leaves no encoder; fit another model"):
            load_encoder(tmp_path)

    def test_that_failed_says_why_instead_of_asking_to_go_on(self, tmp_path: Path) -> None:
        save_model(tmp_path / "model.safetensors", PCA((3, 8, 8)))
        why = "the encoder failed (ValueError: this PCA gives every image the same code, so it has not learnt; fit it longer)"
        (tmp_path / "result.json").write_text(json.dumps({"judging_error": why}))
        with pytest.raises(FileNotFoundError, match=r"no encoder.safetensors: the encoder failed .* fit it longer"):
            load_encoder(tmp_path)


SMALL: dict[str, Callable[[], ImageModel]] = {
    "vae": lambda: VAE((3, 16, 16), latent=4, hidden=(8,)),
    "vae with a flow": lambda: VAE((3, 16, 16), latent=4, hidden=(8,), posterior="iaf", flow_hidden=(8,)),
    "vq-vae": lambda: CodePrior({"image_shape": (3, 16, 16), "codes": 8, "dim": 2, "width": 4, "depth": 1}, width=16, depth=1, heads=1),
    "realnvp": lambda: RealNVP((3, 16, 16), width=4),
    "gan": lambda: GAN((3, 16, 16), width=2),
    "infogan": lambda: GAN((3, 16, 16), width=2, categories=(3,)),
    "diffusion": lambda: Diffusion((3, 16, 16), width=32),
    "energy": lambda: EnergyModel((3, 16, 16)),
    "mae": lambda: MAE((3, 16, 16), width=16, depth=1, decoder_width=16),
    "jepa": lambda: JEPA((3, 16, 16), latent=4),
    "pca": lambda: PCA((3, 16, 16), latent=4),
    "random": lambda: RandomNetwork((3, 16, 16), latent=4),
}


class TestEveryImageModel:
    @pytest.mark.parametrize("name", SMALL)
    def test_encodes_the_same_alone_and_in_a_batch_and_survives_a_file(self, name: str, tmp_path: Path) -> None:
        torch.manual_seed(1)
        model = SMALL[name]()
        if isinstance(model, PCA):
            model.count([(pictures().batch(), None)])
        if isinstance(model, CodePrior):
            model.vqvae.train()
            for _ in range(30):
                model.vqvae.loss(pictures().batch())  # its codes begin at what the images give
        encoder = ImageEncoder.of(model.eval(), Preprocessing((3, 16, 16)), pictures())
        x = pictures(3).pixels
        with torch.no_grad():
            codes = encoder(x)
            assert codes.shape == (3, encoder.size)
            assert encoder.size <= 64
            assert torch.allclose(codes, torch.cat([encoder(part) for part in x.split(1)]), atol=1e-3)
            assert torch.equal(codes, encoder(x))  # a mean, not a sample
            encoder.save(tmp_path / "encoder.safetensors")
            assert torch.allclose(load_encoder(tmp_path)(x), codes, atol=1e-6)

    def test_pixelcnn_encodes_the_levels_that_it_learnt(self) -> None:
        model = PixelCNN((1, 16, 16), levels=8, width=8, depth=2)
        encoder = ImageEncoder.of(model.eval(), Preprocessing((3, 16, 16), grey=True, levels=8), pictures().grey())
        assert encoder(pictures(3).pixels).shape == (3, encoder.size)

    def test_but_one_that_encodes_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="NaiveBayes encodes nothing; give a model with encode"):
            ImageEncoder.of(NaiveBayes((3, 16, 16)), Preprocessing((3, 16, 16)), pictures())
        with pytest.raises(ValueError, match="GAN can't encode an image without its class"):
            ImageEncoder.of(GAN((3, 16, 16), width=2, n_classes=3), Preprocessing((3, 16, 16)), pictures())

    def test_of_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"encodes images of \(3, 16, 16\), but the preprocessing gives \(3, 8, 8\)"):
            ImageEncoder.of(RandomNetwork((3, 16, 16)), Preprocessing((3, 16, 16), size=8), pictures())
