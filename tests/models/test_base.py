"""Files of weights: what was saved comes back, and nothing else is ever built."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from genrl.files import load_state, save_state
from genrl.models.base import ImageModel, load_model, save_model
from genrl.models.capabilities import Decoder, Density, Encoder, Sampler
from genrl.models.code_prior import CodePrior
from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.corruptions import quadrants
from genrl.models.diffusion import Diffusion
from genrl.models.gan import GAN
from genrl.models.naive_bayes import NaiveBayes
from genrl.models.pixelcnn import PixelCNN
from genrl.models.realnvp import RealNVP
from genrl.models.vae import VAE
from genrl.models.vqvae import VQVAE

SHAPE = (1, 4, 4)
MODELS = {
    "vae": lambda: VAE(SHAPE, latent=3, channels=(4,), hidden=(8,), posterior="iaf", flow_hidden=(8,)),
    "grey vae": lambda: VAE(SHAPE, latent=3, hidden=(8,), pixels="logistic", levels=16),
    "pixelcnn": lambda: PixelCNN(SHAPE, width=4, depth=1, blocks="gated"),
    "realnvp": lambda: RealNVP(SHAPE, width=4, dequantization="variational"),
    "vq-vae": lambda: VQVAE(SHAPE, codes=4, dim=2, width=4, depth=1, downsample=1),
    "conditional vae": lambda: ConditionalVAE(SHAPE, latent=3, hidden=(8,)),
}


def moved(model: ImageModel) -> ImageModel:
    """Where every weight matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", MODELS)
class TestFiles:
    @pytest.mark.parametrize("dtype", [None, torch.float64])
    def test_a_saved_model_comes_back(self, name, dtype, tmp_path):
        model = MODELS[name]() if dtype is None else MODELS[name]().to(dtype)
        save_model(tmp_path / "model.safetensors", model)
        before = torch.get_rng_state()
        back = load_model(tmp_path / "model.safetensors")
        assert torch.equal(torch.get_rng_state(), before)  # reading draws nothing
        assert type(back) is type(model) and back.settings == model.settings and not back.training
        kept, found = (dict([*part.named_parameters(), *part.named_buffers()]) for part in (model, back))  # those that no file holds, too
        assert kept.keys() == found.keys()
        for key, value in kept.items():
            assert found[key].dtype == value.dtype and torch.equal(found[key], value), key

    def test_it_knows_its_settings_and_so_does_a_copy(self, name, tmp_path):
        model = MODELS[name]()
        assert model.settings["image_shape"] == SHAPE
        assert copy.deepcopy(model).settings == model.settings
        assert type(model)(**model.settings).state_dict().keys() == model.state_dict().keys()


def test_what_a_model_computes_in_float64_anyway_stays_so(tmp_path):
    model = Diffusion((1, 8, 8), steps=20, width=32)
    save_model(tmp_path / "model.safetensors", model)
    back = load_model(tmp_path / "model.safetensors")
    assert (back.dtype, back.alpha_bar.dtype) == (torch.float32, torch.float64)
    assert torch.equal(back.alpha_bar, model.alpha_bar)


def test_a_prior_comes_back_with_the_vq_vae_that_it_is_of(tmp_path):
    prior = CodePrior(MODELS["vq-vae"](), width=8, depth=1, heads=1, n_classes=3)
    save_model(tmp_path / "prior.safetensors", prior)
    back = load_model(tmp_path / "prior.safetensors")
    assert isinstance(back, CodePrior) and back.conditional
    noise, labels = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    assert torch.equal(back.sample(5, noise, labels), prior.sample(5, noise, labels))


class TestRefusals:
    def test_a_file_of_another_kind(self, tmp_path):
        save_state(tmp_path / "other.safetensors", {"model": "os.system", "settings": {}, "weights": {}})
        with pytest.raises(ValueError, match="holds no image model"):
            load_model(tmp_path / "other.safetensors")

    def test_a_file_of_another_version(self, tmp_path):
        path = tmp_path / "model.safetensors"
        save_model(path, MODELS["pixelcnn"]())
        saved = load_state(path)
        saved["weights"].pop("place")
        save_state(path, saved)
        with pytest.raises(ValueError, match="a PixelCNN of another version"):
            load_model(path)

    def test_a_class_of_ones_own(self, tmp_path):
        class Mine(ImageModel):
            def __init__(self, image_shape):
                super().__init__()

        with pytest.raises(TypeError, match="but not Mine; save its state_dict"):
            save_model(tmp_path / "model.safetensors", Mine(SHAPE))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("x", "sentence"),
        [
            (torch.zeros(2, 1, 4, 5), r"VAE models images of shape \(1, 4, 4\), but was given \(2, 1, 4, 5\)"),
            (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "as floats, but was given uint8"),
            (torch.full((2, 1, 4, 4), 255.0), r"grey levels in \[0, 1\], but was given 255 to 255"),
            (torch.full((2, 1, 4, 4), float("nan")), r"grey levels in \[0, 1\], but was given nan"),
        ],
    )
    def test_images_that_are_none(self, x, sentence):
        with pytest.raises(ValueError, match=sentence):
            MODELS["vae"]().log_prob(x)


class TestModes:
    """Only a loss depends on the mode: in training a batch is judged by itself, and batch norm follows it."""

    @pytest.mark.parametrize("name", MODELS)
    def test_use_is_that_of_evaluation_and_leaves_the_model_as_it_is(self, name):
        model, x = moved(MODELS[name]()), torch.rand(6, *SHAPE).round()
        task = quadrants(1)(x, torch.Generator())
        calls = {
            "encode": lambda: model.encode(x),
            "decode": lambda: model.decode(torch.randn(6, 16 if name == "realnvp" else 8 if name == "vq-vae" else 3)),
            "log_prob": lambda: model.log_prob(*(task if isinstance(model, ConditionalVAE) else (x,))),
            "kl": lambda: model.kl(x),
            "log_prob_of_guess": lambda: model.log_prob_of_guess(*task),
            "complete": lambda: model.complete(task[1]),
            "sample": lambda: model.sample(3),
        }
        for call in (call for method, call in calls.items() if hasattr(model, method)):
            drawn = []
            for training in (False, True):
                before = copy.deepcopy(model.train(training).state_dict())
                torch.manual_seed(1)
                drawn.append(call())
                assert model.training == training
                assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
            assert torch.equal(*drawn)

    @pytest.mark.parametrize("name", ["vae", "realnvp", "conditional vae"])
    def test_a_loss_in_training_moves_batch_norm_and_is_that_of_the_batch(self, name):
        model, x = moved(MODELS[name]()), torch.rand(6, *SHAPE).round()
        parts = quadrants(1)(x, torch.Generator()) if name == "conditional vae" else (x,)
        losses, before = [], copy.deepcopy(model.state_dict())
        for training in (False, True):
            torch.manual_seed(1)
            losses.append(model.train(training).loss(*parts).item())
        assert abs(losses[0] - losses[1]) > 1e-3
        assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items() if key.endswith("running_mean"))


class TestPrecision:
    @pytest.mark.parametrize("name", ["vae", "pixelcnn", "realnvp", "naive bayes"])
    def test_of_images_is_that_of_the_model(self, name):
        model, x = (MODELS | {"naive bayes": lambda: NaiveBayes(SHAPE)})[name]().eval(), torch.zeros(2, *SHAPE)
        with pytest.raises(ValueError, match=r"computes in float32, but was given images in float64; give x\.float\(\)"):
            model.log_prob(x.double())
        assert model.log_prob(x).dtype == torch.float32
        model.double()
        with pytest.raises(ValueError, match=r"computes in float64, but was given images in float32; give x\.to\(torch\.float64\)"):
            model.log_prob(x)
        assert model.log_prob(x.double()).dtype == torch.float64

    @pytest.mark.parametrize(
        "name", ["vae", "grey vae", "pixelcnn", "plain pixelcnn", "realnvp", "code prior", "gan", "infogan", "diffusion"]
    )
    def test_of_samples_is_that_of_the_model(self, name):
        more = {
            "plain pixelcnn": lambda: PixelCNN(SHAPE, width=4, depth=1),
            "code prior": lambda: CodePrior(MODELS["vq-vae"](), width=8, depth=1, heads=2),
            "gan": lambda: GAN(SHAPE, networks="dense", width=2, noise=3, n_classes=2),
            "infogan": lambda: GAN(SHAPE, networks="dense", width=2, noise=3, categories=(2,), continuous=1),
            "diffusion": lambda: Diffusion((1, 8, 8), width=32, steps=2),
        }
        model = (MODELS | more)[name]().eval()
        assert model.sample(2).dtype == torch.float32
        assert model.double().sample(2).dtype == torch.float64

    def test_of_a_model_without_weights_is_any(self):
        class Blank(ImageModel):
            def __init__(self, image_shape):
                super().__init__()
                self.image_shape = image_shape

        x = torch.zeros(2, *SHAPE, dtype=torch.float64)
        assert Blank(SHAPE).checked(x) is x

    def test_of_half_the_bits_under_autocast_is_the_networks_own(self):
        model, x = MODELS["vae"](), torch.zeros(4, *SHAPE)
        with torch.autocast("cpu", torch.bfloat16):
            assert model.loss(x).isfinite()


@pytest.mark.parametrize("name", ["vae", "realnvp", "conditional vae"])
def test_a_bound_of_no_draws_is_refused(name):
    model, x = MODELS[name](), torch.zeros(2, *SHAPE)
    parts = quadrants(1)(x, torch.Generator()) if name == "conditional vae" else (x,)
    calls = [lambda n: model.log_prob(*parts, samples=n)]
    if isinstance(model, VAE):
        calls.append(lambda n: model.kl(x, samples=n))
    if isinstance(model, ConditionalVAE):
        calls.append(lambda n: model.complete(parts[1], samples=n))
    for call, n in itertools.product(calls, (0, 1.5)):
        with pytest.raises(ValueError, match=f"{type(model).__name__} needs samples to be a whole number, at least 1, but was given {n}"):
            call(n)


@pytest.mark.parametrize("cls", [RealNVP, NaiveBayes, ConditionalVAE])
@pytest.mark.parametrize("shape", [(28, 28), (1, 0, 8), (4, 1, 28, 28)])
def test_an_image_has_channels_a_height_and_a_width(cls, shape):
    with pytest.raises(ValueError, match=rf"^{cls.__name__} needs image_shape to be \(channels, height, width\), but was given \("):
        cls(shape)


def test_what_a_model_can_do_is_what_it_has():
    vae, pixelcnn = MODELS["vae"](), MODELS["pixelcnn"]()
    assert all(isinstance(vae, kind) for kind in (Density, Sampler, Encoder, Decoder))
    assert isinstance(pixelcnn, Density) and isinstance(pixelcnn, Encoder) and not isinstance(pixelcnn, Decoder)
    assert (vae.likelihood, pixelcnn.likelihood) == ("lower bound", "exact")


def test_numpy_numbers_and_lists_are_settings_like_any_other(tmp_path):
    plain = VAE((1, 8, 8), latent=4, hidden=(16,), free_bits=0.5)
    same = VAE([1, 8, 8], latent=np.int64(4), hidden=[np.int32(16)], free_bits=np.float32(0.5))
    assert same.settings == plain.settings
    assert same.image_shape == (1, 8, 8)
    save_model(tmp_path / "model.safetensors", same)
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.settings == plain.settings
    assert loaded.sample(2).shape == (2, 1, 8, 8)


def test_a_model_and_a_path_in_torchs_order_are_refused(tmp_path):
    with pytest.raises(TypeError, match="takes the path first, then the model"):
        save_model(VAE((1, 8, 8)), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "model",
    [
        GAN((1, 8, 8), width=4, n_classes=10),
        Diffusion((1, 8, 8), steps=4, width=32, n_classes=10),
        CodePrior({"image_shape": (1, 8, 8)}, frozen=False, n_classes=10),
    ],
    ids=lambda model: type(model).__name__,
)
def test_one_label_is_that_of_all_draws_and_a_list_names_each(model):
    with torch.random.fork_rng():
        draws = []
        for labels in (3, [3, 3, 3, 3], torch.full((4,), 3)):
            torch.manual_seed(0)
            draws.append(model.eval().sample(4, labels=labels))
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="needs labels from 0 to 9, but was given some from 10 to 10"):
        model.sample(4, labels=10)
