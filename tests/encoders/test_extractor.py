"""pretrained: the weights survive construction, are shared by no two networks, move only if asked to, and stay out of the pickle."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

from genrl.encoders import EncodedVecEnv, EncoderExtractor, ImageEncoder, pretrained
from tests.encoders.eyes import SHAPE, PictureClock, actions_of, learner, picture_clocks, reader, small_vae
from tests.rewards.clock import OFF_POLICY, ON_POLICY

LEARNERS = [*ON_POLICY, *OFF_POLICY]


def extractors(model: Any) -> dict[str, EncoderExtractor]:
    """Each network's own, by the name of the network that has it first."""
    return {name: module for name, module in model.policy.named_modules() if isinstance(module, EncoderExtractor)}


def weights(encoder: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def optimizers(model: Any) -> list[torch.optim.Optimizer]:
    parts = [model.policy, *model.policy.children(), model]
    found = [value for part in parts for value in vars(part).values() if isinstance(value, torch.optim.Optimizer)]
    return [*found, *(part.optimizer for part in model.policy.modules() if hasattr(part, "optimizer"))]


def built(name: str, encoder: ImageEncoder, train: bool, **kwargs: Any) -> Any:
    return learner(name, picture_clocks(2, actions=actions_of(name)), pretrained(encoder, train=train), **kwargs)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("train", [False, True])
def test_loaded_weights_survive_construction_in_every_network(name: str, train: bool) -> None:
    encoder = small_vae()
    model = built(name, encoder, train)
    found = extractors(model)
    assert found
    for extractor in found.values():
        assert same(weights(extractor.encoder), weights(encoder))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("train", [False, True])
def test_actor_critic_and_target_have_copies_of_their_own(name: str, train: bool) -> None:
    model = built(name, small_vae(), train)
    places = [tensor.data_ptr() for extractor in extractors(model).values() for tensor in extractor.state_dict().values()]
    assert len(places) == len(set(places))
    if name in OFF_POLICY:
        assert len(extractors(model)) >= 2  # Q and its target at least


@pytest.mark.parametrize("name", LEARNERS)
def test_a_frozen_encoder_is_bitwise_the_same_after_learn_and_always_in_evaluation_mode(name: str) -> None:
    encoder = small_vae()
    kwargs = {"optimizer_kwargs": {"weight_decay": 0.1}} if name not in {"TRPO"} else {}
    model = built(name, encoder, False)
    model.policy_kwargs |= kwargs
    before = weights(encoder)
    model.learn(64)
    assert all(same(weights(extractor.encoder), before) for extractor in extractors(model).values())
    model.policy.set_training_mode(True)
    assert not any(module.training for extractor in extractors(model).values() for module in extractor.encoder.modules())


@pytest.mark.parametrize("name", LEARNERS)
def test_no_optimiser_has_a_frozen_weight(name: str) -> None:
    model = built(name, small_vae(), False)
    frozen = {tensor.data_ptr() for extractor in extractors(model).values() for tensor in extractor.encoder.state_dict().values()}
    held = {item.data_ptr() for optimizer in optimizers(model) for group in optimizer.param_groups for item in group["params"]}
    assert held
    assert not frozen & held
    assert not any(list(extractor.encoder.parameters()) for extractor in extractors(model).values())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_trained_encoder_learns_where_a_code_comes_from_and_nowhere_else(name: str) -> None:
    encoder = small_vae()
    model = built(name, encoder, True, learning_rate=1e-2)
    before = weights(encoder)
    model.learn(64)
    for network, extractor in extractors(model).items():
        after = weights(extractor.encoder)
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        trained = {name for name, _ in extractor.encoder.named_parameters()}
        assert trained == {key for key in trained if "encoder" in key or "to_posterior" in key}
        assert moved <= trained
        if "actor" not in network or name in ON_POLICY:
            assert moved, network
    assert same(before, weights(encoder))  # what was given stays as it was


def test_the_target_lags_behind() -> None:
    model = built("SAC", small_vae(), True, learning_rate=1e-2, tau=0.01, gradient_steps=1)
    start = weights(extractors(model)["critic.features_extractor"].encoder)
    model.learn(40)
    critic, target = (weights(extractors(model)[f"{name}.features_extractor"].encoder) for name in ("critic", "critic_target"))
    key = "model.encoder.0.0.weight"
    far, near = (critic[key] - start[key]).abs().sum(), (target[key] - start[key]).abs().sum()
    assert 0 < near < 0.5 * far


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
@pytest.mark.parametrize("train", [False, True])
def test_the_zip_has_no_pickled_module_and_loads_where_the_file_of_the_encoder_is_not(name: str, train: bool, tmp_path: Path) -> None:
    model = built(name, small_vae(), train)
    model.learn(32)
    model.save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))
    pickled = base64.b64decode(data["policy_kwargs"][":serialized:"])
    for word in (b"torch._utils", b"genrl.models", b"ImageEncoder", b"_rebuild"):
        assert word not in pickled
    obs = picture_clocks(2, actions=actions_of(name)).reset()
    expected = model.predict(obs, deterministic=True)[0]
    again = type(model).load(tmp_path / "model.zip", device="cpu")
    assert np.array_equal(again.predict(obs, deterministic=True)[0], expected)
    script = f"""
import numpy as np
from stable_baselines3 import {name}
model = {name}.load(r"{tmp_path / "model.zip"}", device="cpu")
print(np.asarray(model.predict(np.load(r"{tmp_path / "obs.npy"}"), deterministic=True)[0]).tolist())
"""
    np.save(tmp_path / "obs.npy", obs)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == str(np.asarray(expected).tolist()), done.stderr


def test_arguments_from_a_file_alone_have_no_weights_and_say_so(tmp_path: Path) -> None:
    model = built("PPO", small_vae(), True)
    model.save(tmp_path / "model.zip")
    kwargs = PPO.load(tmp_path / "model.zip", device="cpu").policy_kwargs
    fresh = PPO("CnnPolicy", picture_clocks(1), policy_kwargs=kwargs, device="cpu", n_steps=16)
    with pytest.raises(ValueError, match="without weights; load the learner from its zip"):
        fresh.predict(picture_clocks(1).reset())


def test_a_copy_of_a_learner_keeps_the_weights() -> None:
    model = built("SAC", small_vae(), False)
    assert same(weights(copy.deepcopy(model.policy)), weights(model.policy))


@pytest.mark.parametrize("kind", ["last", "first", "floats", "dict"])
def test_features_are_the_codes_of_the_environment(kind: str) -> None:
    encoder = small_vae()
    env = picture_clocks(2, kind=kind)
    model = learner("PPO", env, pretrained(encoder))
    tensor, _ = model.policy.obs_to_tensor(model.env.reset())
    with torch.no_grad():
        features = model.policy.extract_features(tensor)
    codes = EncodedVecEnv(picture_clocks(2, kind=kind), encoder, history=1).reset()
    assert torch.allclose(features, torch.from_numpy(codes), atol=1e-6)


def test_the_entries_of_a_dict_may_come_in_any_order() -> None:
    model = learner("PPO", picture_clocks(1, kind="dict"), pretrained(small_vae()))
    given, _ = PictureClock(kind="dict").reset()  # a plain environment gives the order in which it was written, a VecEnv that of the space
    assert list(given) != list(model.observation_space)
    own = {key: given[key] for key in model.observation_space}
    features = [model.policy.extract_features(model.policy.obs_to_tensor(obs)[0]) for obs in (given, own)]
    assert torch.equal(*features)


@pytest.mark.parametrize("train", [False, True])
def test_an_encoder_in_float64_gives_the_same_codes_to_networks_in_float32(train: bool) -> None:
    single, double = EncodedVecEnv(picture_clocks(2), small_vae()).reset(), EncodedVecEnv(picture_clocks(2), small_vae().double()).reset()
    assert double.dtype == np.float32
    assert np.allclose(single, double, atol=1e-4)
    built("PPO", small_vae().double(), train).learn(16)


def test_stacked_frames_are_encoded_one_by_one_oldest_first() -> None:
    stacked = VecFrameStack(picture_clocks(2), 2, channels_order="last")
    model = learner("PPO", stacked, pretrained(reader()))
    coded = EncodedVecEnv(picture_clocks(2), reader(), history=2)
    stacked.reset(), coded.reset()
    for _ in range(2):
        rows = coded.step(np.zeros((2, 2)))[0]
        obs = stacked.step(np.zeros((2, 2)))[0]
    tensor, _ = model.policy.obs_to_tensor(obs.transpose(0, 3, 1, 2))
    assert torch.allclose(model.policy.extract_features(tensor), torch.from_numpy(rows), atol=1e-6)


class TestRefusals:
    def test_of_images_that_are_not_divided_by_255(self) -> None:
        kwargs = pretrained(reader()) | {"normalize_images": False}
        model = learner("PPO", picture_clocks(1), kwargs)
        with pytest.raises(ValueError, match=r"in \[0, 1\], but the policy gives 0 to 200; leave normalize_images"):
            model.predict(picture_clocks(1).reset())

    def test_of_bytes_that_stable_baselines3_takes_for_no_image_before_anything_is_learnt(self) -> None:
        kwargs = pretrained(reader())
        space = spaces.Box(0, 200, SHAPE, np.uint8)
        with pytest.raises(ValueError, match=r"see images as bytes from 0 to 255 on three axes, but these are .*without --finetune"):
            kwargs["features_extractor_class"](space, **kwargs["features_extractor_kwargs"])

    def test_of_images_under_a_vecnormalize(self) -> None:
        with pytest.raises(ValueError, match=r"from -10 to 10.*leave a VecNormalize over images out"):
            learner("PPO", VecNormalize(picture_clocks(1)), pretrained(reader()))

    def test_of_an_encoder_that_has_nothing_to_train(self) -> None:
        with pytest.raises(ValueError, match="PCA has no layers that a learner could train; type train=False, or leave --finetune out"):
            learner("PPO", picture_clocks(1), pretrained(reader(), train=True))

    def test_of_a_space_without_an_image(self) -> None:
        import gymnasium

        with pytest.raises(ValueError, match="needs observations with an image"):
            SAC("MlpPolicy", DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), policy_kwargs=pretrained(reader()), device="cpu")
