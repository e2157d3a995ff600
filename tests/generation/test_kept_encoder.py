"""A run on frames of a task keeps their states and actions, leaves an encoder behind, and says what it sees."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from genrl.cli import main
from genrl.data import Images, Walk
from genrl.encoders import EncodedEnv, ImageEncoder, Preprocessing, Sight, load_encoder, what_it_sees
from genrl.encoders.sight import _ridge
from genrl.errors import RunError
from genrl.generation import GenerateConfig, generate, record_frames, resume_generation, running
from genrl.generation.frames_file import load_frames, save_frames
from genrl.generation.images import images_of
from genrl.models import JEPA, PCA, load_model
from tests.generation.test_frames import PAINTS

TASK = "genrl/PixelPendulum-v0"


def made(out: Path, model: str, **changes: Any) -> GenerateConfig:
    values = {"frames": 240, "judge_images": 0, "pictures": False}
    return GenerateConfig(model=model, data=f"frames:{TASK}", out=out, **values | changes)  # type: ignore[arg-type]


class StillState(gymnasium.Env[np.ndarray, int]):
    """Pictures of noise, and a state of two zeros."""

    observation_space = gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def _seen(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self.np_random.integers(0, 256, (32, 32, 3), dtype=np.uint8), {"state": np.zeros(2)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        super().reset(seed=seed)
        return self._seen()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, np.ndarray]]:
        obs, info = self._seen()
        return obs, 0.0, False, False, info


class TestAWalk:
    def test_has_the_states_and_the_actions_that_lead_from_frame_to_frame(self) -> None:
        walk = record_frames(TASK, 200, only_larger=True).train.walk
        assert walk is not None
        assert walk.state is not None
        assert walk.state_names == ("cos_theta", "sin_theta", "theta_dot")
        assert walk.source == (3, 32, 32)
        for before, after in walk.stacks(2).tolist():
            _, sin, speed = walk.state[before].double().tolist()
            faster = speed + (15 * sin + 3 * 2 * float(walk.action[before])) * 0.05  # Gymnasium's Pendulum; actions in [-1, 1]
            assert abs(max(-8.0, min(8.0, faster)) - float(walk.state[after, 2])) < 1e-3

    def test_of_fewer_frames_has_the_mean_of_what_was_done_between_two(self) -> None:
        fine, coarse = (record_frames(TASK, n, only_larger=True, every=every).train for n, every in ((400, 1), (100, 4)))
        assert fine.walk is not None
        assert coarse.walk is not None
        assert torch.equal(coarse.pixels[:5], fine.pixels[0:20:4])  # the first episode, of which both are frames
        done = fine.walk.action[:16].view(4, 4, 1)
        assert len(done.unique()) > 1
        assert torch.allclose(coarse.walk.action[:4], done.mean(1))

    def test_never_crosses_episodes(self) -> None:
        walk = record_frames(TASK, 60, only_larger=True).train.walk
        assert walk is not None
        assert (walk.episode[walk.stacks(3)].diff(dim=1) == 0).all()
        assert len(walk.stacks(2)) == len(walk) - len(walk.episode.unique())
        assert not walk.action[[i for i in range(len(walk)) if i + 1 == len(walk) or walk.episode[i + 1] != walk.episode[i]]].any()

    def test_comes_back_from_a_file(self, tmp_path: Path) -> None:
        data = record_frames(TASK, 40, only_larger=True)
        save_frames(tmp_path / "frames.npz", data)
        again = load_frames(tmp_path / "frames.npz")
        for one, two in ((data.train, again.train), (data.test, again.test)):
            assert one.walk is not None
            assert two.walk is not None
            assert torch.equal(one.pixels, two.pixels)
            assert all(torch.equal(getattr(one.walk, name), getattr(two.walk, name)) for name in ("episode", "action", "state"))
            assert (one.walk.source, one.walk.state_names) == (two.walk.source, two.walk.state_names)

    @pytest.mark.filterwarnings("ignore:.*RGB-array rendering")
    def test_of_a_task_that_tells_no_state_has_every_fourth_frame(self) -> None:
        data = record_frames(PAINTS, 20, size=8, env_kwargs={"what": "colour"})
        assert data.train.walk is not None
        assert (data.train.walk.state, data.train.walk.state_names, data.train.walk.source) == (None, (), (3, 16, 12))


class TestARun:
    @pytest.mark.parametrize("model", ["pca", "random", "jepa", "mae", "vae"])
    def test_leaves_the_encoder_of_its_model_behind(self, model: str, tmp_path: Path) -> None:
        counts = model in ("pca", "random")
        result = generate(made(tmp_path / "eyes", model, **({} if counts else {"epochs": 1})), quiet=True)
        assert (result["status"], result["judging_error"]) == ("finished", None)
        encoder = load_encoder(tmp_path / "eyes")
        assert result["encoder"]["hash"] == encoder.hash
        assert set(result["encoder"]["sight"]["state"]) == {"cos_theta", "sin_theta", "theta_dot"}
        env = EncodedEnv(gymnasium.make(TASK), encoder)  # the frames of the task fit as they are
        assert env.reset(seed=0)[0].shape == (3 * encoder.size,)
        weights, own = load_model(tmp_path / "eyes" / "model.safetensors").state_dict(), encoder.model.state_dict()
        assert all(torch.equal(weights[name], own[name]) for name in weights)

    def test_of_long_codes_keeps_as_many_principal_components_as_asked_for(self, tmp_path: Path) -> None:
        result = generate(made(tmp_path / "eyes", "mae", epochs=1, code=5), quiet=True)
        encoder = load_encoder(tmp_path / "eyes")
        assert (result["encoder"]["size"], encoder.size) == (5, 5)
        assert encoder.basis is not None
        assert torch.allclose(encoder.basis.T @ encoder.basis, torch.eye(5), atol=1e-4)
        with pytest.raises(RunError, match="--code is 0, but must be at least 1"):
            made(tmp_path / "none", "mae", code=0)

    def test_prepares_observations_as_it_prepared_its_frames(self, tmp_path: Path) -> None:
        config = made(tmp_path / "eyes", "pca", crop=(0, 8, 4, 4), size=8, grey=True)
        source, _ = images_of(config, quiet=True)
        generate(config, quiet=True)
        encoder = load_encoder(tmp_path / "eyes")
        assert encoder.preprocessing == Preprocessing((3, 32, 32), (0, 8, 4, 4), 8, True)
        raw = record_frames(TASK, config.frames, size=0).train.pixels
        assert torch.equal(encoder.preprocessing(raw), source.data.train.batch())

    def test_of_frames_and_actions_learns_the_levels_of_its_encoder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen, loss = [], JEPA.loss
        monkeypatch.setattr(JEPA, "loss", lambda model, x, action, next_x: (seen.extend([x, next_x]), loss(model, x, action, next_x))[1])
        generate(made(tmp_path / "eyes", "jepa", epochs=1, levels=4), quiet=True)
        assert load_encoder(tmp_path / "eyes").preprocessing.levels == 4
        assert (3 * torch.cat(seen)).round(decimals=4).unique().tolist() == [0, 1, 2, 3]

    def test_of_principal_components_counts_the_levels_of_its_encoder(self, tmp_path: Path) -> None:
        config = made(tmp_path / "eyes", "pca", levels=4)
        generate(config, quiet=True)
        pixels = images_of(config, quiet=True)[0].data.train.pixels
        model = load_encoder(tmp_path / "eyes").model
        assert isinstance(model, PCA)
        assert torch.allclose(model.mean, (pixels // 64).float().mean(0).flatten() / 3, atol=1e-5)

    def test_of_frames_and_actions_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        whole = made(tmp_path / "whole", "jepa", epochs=4)
        generate(whole, quiet=True)
        generate(replace(whole, out=tmp_path / "part", epochs=2), quiet=True)
        model = load_model(tmp_path / "part" / "model.safetensors")
        assert isinstance(model, JEPA)
        assert model.action == 1
        result = resume_generation(tmp_path / "part", epochs=4, quiet=True)
        assert result["epochs"] == 4
        assert result["encoder"]["sight"] is not None

    def test_draws_what_it_sees_and_says_what_to_type(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["generate", "--model", "pca", "--data", f"frames:{TASK}", "--frames", "800", "--judge-images", "20"]
        assert main([*words, "--out", str(tmp_path / "eyes")]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "what it sees R² of a linear probe: " in out
        assert " R² where it is given products of codes, too: " in out  # a row of its own: the verdict is about the better of the two
        assert f"genrl explore --env {TASK} --encoder {tmp_path / 'eyes'} --learner sac --steps 8000 --reward none" in out
        assert (tmp_path / "eyes" / "sight.png").is_file()

    def test_has_a_title_over_each_plot_that_is_no_wider_than_its_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[Figure] = []
        save = Figure.savefig
        monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: (drawn.append(self), save(self, *args, **kwargs))[1])
        monkeypatch.setattr("genrl.generation.kept_encoder.CURVED", -100.0)  # so that each title is as long as it can be
        generate(made(tmp_path / "eyes", "pca", pictures=True), quiet=True)
        (figure,) = [figure for figure in drawn if "sees" in figure.get_suptitle()]
        titles = figure.findobj(lambda item: isinstance(item, Text) and "by products" in item.get_text())
        assert len(titles) == 3
        places = [title.get_window_extent() for title in titles]
        assert all(left.x1 < right.x0 for left, right in pairwise(places))
        assert places[-1].x1 <= figure.bbox.x1

    def test_of_a_state_that_never_changes_ends_well_and_says_so(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gymnasium.register("StillState-v0", StillState, max_episode_steps=20)
        try:
            words = ["generate", "--model", "pca", "--data", "frames:StillState-v0", "--frames", "200", "--judge-images", "20"]
            assert main([*words, "--out", str(tmp_path / "eyes")]) == 0
        finally:
            del gymnasium.registry["StillState-v0"]
        out = " ".join(capsys.readouterr().out.split())
        assert "what it sees nothing of the state changes in the frames that were kept back" in out
        assert not (tmp_path / "eyes" / "sight.png").exists()

    def test_that_has_collapsed_says_so(self, tmp_path: Path) -> None:
        result = generate(made(tmp_path / "eyes", "jepa", epochs=60, model_kwargs={"weight": 0.0}, learning_rate=0.01), quiet=True)
        r2 = result["encoder"]["sight"]["state"].values() if result["encoder"] else []
        told = result["status"], result["error"], result["judging_error"]
        assert "gives every image the same code" in str(result["judging_error"]) or min(r2, default=1.0) < 0.5, told

    def test_refuses_what_a_model_can_not_learn_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        np.savez(tmp_path / "images.npz", images=np.zeros((30, 8, 8), np.uint8))
        with pytest.raises(RunError, match="--model jepa learns from frames and the actions between them; write --data frames:TASK"):
            generate(GenerateConfig(model="jepa", data=str(tmp_path / "images.npz"), out=tmp_path / "a"), quiet=True)
        # a frame of each of twenty episodes
        with pytest.raises(RunError, match=f"no two of frames:{PAINTS} are of one; type --every 1, --frames 40 or more, or --model vae"):
            generate(GenerateConfig(model="jepa", data=f"frames:{PAINTS}", frames=20, out=tmp_path / "a"), quiet=True)
        for model in ("mae", "pca", "random"):
            with monkeypatch.context() as patch:
                patch.setattr(running, "images_of", lambda *_, **__: pytest.fail("it recorded frames"))
                with pytest.raises(RunError, match=rf"--moving is 5.0, but the error of --model {model} has no weights; write --model vae"):
                    generate(made(tmp_path / model, model, moving=5.0), quiet=True)
        with pytest.raises(RunError, match="--every was given, but --data mnist records nothing"):
            GenerateConfig(every=2)


class TestSight:
    """Codes that are the state itself, up to a linear map, are seen perfectly; noise is not."""

    def probed(self, noise: float, history: int = 2, unit: float = 1.0) -> Sight:
        generator = torch.Generator().manual_seed(0)
        parts = []
        for n in (600, 300):
            wave = torch.sin(0.4 * torch.arange(n) + torch.rand(1, generator=generator))
            x = 128 + 60 * wave + noise * torch.randn(n, generator=generator)
            pixels = torch.full((n, 1, 8, 8), 100, dtype=torch.uint8)
            pixels[:, 0, 0, 0] = x.round().clamp(0, 255).byte()
            shown = pixels[:, 0, 0, 0].float()
            speed = torch.cat([torch.zeros(1), shown.diff()])
            state = torch.stack([shown, speed, torch.randn(n, generator=generator), torch.full((n,), 3.0)], dim=1)
            names = ("x", "speed", "unseen", "constant")
            walk = Walk(torch.zeros(n, dtype=torch.long), torch.zeros(n, 1), (1, 8, 8), unit * state, names)
            parts.append(Images(pixels, walk=walk))
        model = PCA((1, 8, 8), latent=2)
        model.count([(parts[0].batch(), None)])
        return what_it_sees(ImageEncoder.of(model, Preprocessing((1, 8, 8)), parts[0]), *parts, history=history)

    def test_of_a_position_needs_one_frame_and_of_a_speed_two(self) -> None:
        sight = self.probed(5.0)
        assert next(iter(sight.state)) == "unseen"
        assert sight.state["unseen"] < 0.1
        assert sight.state["x"] > 0.99
        assert sight.state["speed"] > 0.98
        assert sight.one_frame["x"] > 0.99
        assert sight.one_frame["speed"] < 0.7

    @pytest.mark.parametrize("unit", [1e-6, 1e6])
    def test_knows_no_units(self, unit: float) -> None:
        sight, other = self.probed(5.0), self.probed(5.0, unit=unit)
        assert (other.state, other.products) == (pytest.approx(sight.state, abs=2e-4), pytest.approx(sight.products, abs=2e-4))
        assert other.still == sight.still == ("constant",)

    def test_of_codes_gives_no_weight_to_what_only_rounding_has_moved(self) -> None:
        x, rounding = torch.linspace(-1, 1, 100)[:, None], 1e-8 * torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
        said = _ridge(torch.cat([x, rounding], dim=1), x.double(), torch.cat([x, torch.ones(100, 1)], dim=1))
        assert torch.allclose(said, x.double(), atol=0.01)

    def test_of_a_number_that_never_changes_says_so(self) -> None:
        sight = self.probed(5.0)
        assert "constant" not in sight.state
        assert sight.still == ("constant",)
        assert sight.verdict.endswith("; constant never changes in the frames that were kept back")
        nothing = Sight({}, {}, 3, 100, 0.9, None, {}, ("x",))
        assert Sight({"x": 0.9}, {"x": 0.9}, 3, 100, 0.9, None, {}, ("y", "z")).verdict.endswith(
            "; y, z never change in the frames that were kept back"
        )
        assert nothing.verdict.startswith("nothing of the state changes in the frames that were kept back")

    def test_of_a_speed_around_a_circle_is_in_products_of_codes_alone(self) -> None:
        generator = torch.Generator().manual_seed(0)
        parts = []
        for n in (1200, 600):
            speed = torch.randn(n, generator=generator) * 0.3
            theta = speed.cumsum(0)
            pixels = torch.full((n, 1, 8, 8), 100, dtype=torch.uint8)
            pixels[:, 0, 0, 0] = (128 + 100 * theta.cos()).round().byte()
            pixels[:, 0, 7, 7] = (128 + 100 * theta.sin()).round().byte()
            walk = Walk(
                torch.zeros(n, dtype=torch.long), torch.zeros(n, 1), (1, 8, 8), torch.stack([theta.cos(), speed], 1), ("cos", "speed")
            )
            parts.append(Images(pixels, walk=walk))
        model = PCA((1, 8, 8), latent=2)
        model.count([(parts[0].batch(), None)])
        sight = what_it_sees(ImageEncoder.of(model, Preprocessing((1, 8, 8)), parts[0]), *parts, history=2)
        assert sight.state["speed"] < 0.2
        assert sight.products["speed"] > 0.95
        assert sight.worst == ("speed", sight.products["speed"])
        assert f"speed is seen worst, R² {sight.products['speed']:.2f} by products of codes; " in sight.verdict
        assert sight.verdict.endswith("; a linear probe misses speed, as it does a speed around a circle")

    def test_of_pictures_is_the_share_of_their_variance(self) -> None:
        sight = self.probed(0.0)
        assert sight.drawn is not None
        assert sight.drawn > 0.999
        assert sight.moving is not None
        assert sight.moving > 0.999

    @pytest.mark.parametrize(("most", "drawn"), [(2, 1.0), (1, 0.9)])
    def test_of_pictures_is_of_what_the_code_keeps_of_the_features(self, most: int, drawn: float) -> None:
        """Two pixels go up and down independently, one three times as far as the other: nine tenths of the variance are its own."""
        pixels = torch.full((400, 1, 8, 8), 100, dtype=torch.uint8)
        pixels[:, 0, 0, 0] = torch.tensor([188, 188, 68, 68]).repeat(100).byte()
        pixels[:, 0, 7, 7] = torch.tensor([148, 108, 148, 108]).repeat(100).byte()
        state = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
        frames = Images(pixels, walk=Walk(torch.zeros(400, dtype=torch.long), torch.zeros(400, 1), (1, 8, 8), state, ("x",)))
        model = PCA((1, 8, 8), latent=2)
        model.count([(frames.batch(), None)])
        sight = what_it_sees(ImageEncoder.of(model, Preprocessing((1, 8, 8)), frames, most=most), frames, frames, history=1)
        assert sight.drawn == pytest.approx(drawn, abs=1e-3)

    def test_names_a_small_thing_that_is_lost_and_the_cure(self) -> None:
        lost = Sight({"ball": 0.1, "cart": 0.9}, {"ball": 0.1, "cart": 0.9}, 3, 100, drawn=0.97, moving=0.2)
        assert lost.verdict == (
            "the pictures are good (97% of their variance, but 20% of what moves) and yet the codes lose ball (R² 0.10 at worst): "
            "something small that matters is lost; type --model vae --moving 20, which weighs its error by where frames change, or "
            "--model jepa, which draws nothing"
        )
        still = Sight({"speed": 0.1, "x": 0.9}, {"speed": 0.0, "x": 0.9}, 3, 100, None, None)
        assert "one frame does not show; stack more of them, by --history 5" in still.verdict
        assert Sight({"speed": 0.6}, {"speed": 0.0}, 3, 100, 0.9, None).verdict.startswith("the codes of 3 frames tell the whole state")
        assert "try another --model" in Sight({"x": 0.1}, {"x": 0.1}, 3, 100, 0.3, None).verdict
        assert "lose x (R² 0.10 at worst)" in Sight({"x": 0.1}, {"x": 0.1}, 3, 100, 0.3, None, {"x": 0.05}).verdict
        assert "lose x (R² 0.20 by products of codes at worst)" in Sight({"x": 0.1}, {"x": 0.1}, 3, 100, 0.3, None, {"x": 0.2}).verdict

    def test_of_frames_without_states_is_refused(self) -> None:
        frames = Images(torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8))
        model = PCA((1, 8, 8), latent=2)
        model.count([(frames.batch(), None)])
        with pytest.raises(ValueError, match=r"have no true states; record a task that puts its state into info\['state'\]"):
            what_it_sees(ImageEncoder.of(model, Preprocessing((1, 8, 8)), frames), frames, frames)


def test_a_history_that_is_longer_than_the_episodes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    frames = Walk(torch.zeros(2, dtype=torch.long), torch.zeros(2, 1), (3, 8, 8))
    assert frames.stacks(5).shape == (0, 5)
    with pytest.raises(RunError, match=r"--history is 13, but no episode that is kept back has so many frames; .*give at most 12"):
        generate(made(tmp_path / "eyes", "random", history=13), quiet=True)
    assert not (tmp_path / "eyes").exists()


class TestWhatMoves:
    def test_weighs_more_in_the_loss(self, tmp_path: Path) -> None:
        source, _ = images_of(made(tmp_path / "eyes", "vae", moving=20.0), quiet=True)
        learnt = source.to_learn(source.data.train, pairs=False)
        index = torch.tensor([0, 5, 6])
        x, weight = source.transform(learnt.batch(index), torch.Generator())
        pixels = source.data.train.pixels.int()
        assert torch.equal(x, source.data.train.batch(index))
        assert (weight[0] == 1).all()  # the first of an episode has nothing before it
        assert torch.equal(weight[1] == 21, (pixels[5] - pixels[4]).abs() > 12)
        assert set(weight.unique().tolist()) == {1.0, 21.0}
