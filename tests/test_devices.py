"""Every tensor follows its module's device: none is made without a device, or a like, or a place in a module that moves with it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrl.generators import forked_generators
from genrl.models import GAN, VAE, NaiveBayes, PixelCNN
from genrl.models.transformer import CausalTransformer
from genrl.rewards import (
    AIRL,
    GAIL,
    ICM,
    RND,
    VAIL,
    AdversarialReward,
    DiffAIL,
    Disagreement,
    GAIfO,
    PredictionError,
    SimHashCounts,
    Transitions,
)
from genrl.sb3.replay import as_transitions
from genrl.transitions import Floats
from genrl.worlds import BayesianDynamics, DreamVecEnv, Ensemble
from tests.rewards.test_adversarial import ACT, OBS, demonstrations

GENRL = Path(__file__).parents[1] / "genrl"
FOLDERS = ("rewards", "models")
MAKERS = {
    *(
        "arange",
        "as_tensor",
        "empty",
        "eye",
        "full",
        "linspace",
        "logspace",
        "normal",
        "ones",
        "rand",
        "randint",
        "randn",
        "randperm",
        "tensor",
        "zeros",
    ),
}
MOVED = {"register_buffer", "Buffer", "Parameter", "ParameterList"}
"""What a module takes with it when it moves."""

PENDING: dict[str, int] = {
    "models/diffusion.py": 2,
    "models/flows.py": 3,
    "models/realnvp.py": 3,
}
"""Files that still make such tensors, and how many; it only shrinks. All are made while a module is built, which takes them as buffers."""


def homeless(tree: ast.AST) -> Iterator[int]:
    """Lines where a tensor is made on the default device and stays there."""
    settled: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in MOVED:
                settled |= {
                    inner for argument in [*node.args, *(keyword.value for keyword in node.keywords)] for inner in ast.walk(argument)
                }
            elif name == "to" and isinstance(node.func, ast.Attribute):
                settled.add(node.func.value)
            elif name in {"split", "tensor_split"} and isinstance(node.func, ast.Attribute):
                settled.add(node.func.value)  # an index in parts
            elif name in {"rows", "batch", "int", "float"}:  # an index on the CPU fits a tensor on any device; a number is on none
                settled |= {inner for argument in node.args for inner in ast.walk(argument)}
        elif isinstance(node, ast.Subscript):
            settled |= set(ast.walk(node.slice))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node not in settled):
            continue
        if (
            ast.unparse(node.func.value) == "torch"
            and node.func.attr in MAKERS
            and "device" not in {keyword.arg for keyword in node.keywords}
        ):
            yield node.lineno


FILES = sorted(file for folder in FOLDERS for file in (GENRL / folder).rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(GENRL).as_posix())
def test_no_tensor_is_made_away_from_its_module(file: Path) -> None:
    lines = list(homeless(ast.parse(file.read_text())))
    allowed = PENDING.get(file.relative_to(GENRL).as_posix(), 0)
    assert len(lines) <= allowed, f"{file.name} makes tensors without a device in lines {lines}; give device=, use new_zeros or zeros_like"


def test_the_walk_sees_what_it_should() -> None:
    lines = (
        "torch.zeros(3)",
        "x.new_zeros(3)",
        "torch.zeros(3, device=x.device)",
        "self.register_buffer('a', torch.zeros(3))",
        "torch.rand(3, generator=g).to(x)",
        "x[torch.randint(3, (2,))]",
        "y = torch.randint(3, (2,))",
        "for rows in torch.arange(3).split(2): pass",
        "images.batch(torch.arange(3))",
    )
    assert list(homeless(ast.parse("\n".join(lines)))) == [1, 7]


def batch(device: str, n: int = 64) -> Transitions:
    generator = torch.Generator().manual_seed(0)
    obs, action, next_obs = (torch.randn(n, size, generator=generator) for size in (3, 2, 3))
    return Transitions(obs, action, next_obs, torch.zeros(n, dtype=torch.bool)).to(torch.device(device))


@pytest.mark.parametrize("cls", [RND, ICM, Disagreement, PredictionError, SimHashCounts, GAIL, DiffAIL, GAIfO, AIRL, VAIL])
@pytest.mark.parametrize("absorbing", [False, True])
def test_a_reward_that_moves_scores_where_it_is(cls: Any, absorbing: bool) -> None:
    """On torch's device without memory, which refuses tensors of another. (VIME and StateEntropy look at numbers, which it has not.)"""
    keywords: dict[str, Any] = {"normalize": False}
    if issubclass(cls, AdversarialReward):
        reward = cls(demonstrations(), OBS, ACT, absorbing=absorbing, held_out=demonstrations(20), **keywords)
    else:
        reward = cls(OBS, ACT, **keywords)
    reward.to("meta")
    assert reward.device == reward.floats.device == torch.device("meta")
    assert reward.eval()(batch("meta")).device.type == "meta"
    if isinstance(reward, AdversarialReward):
        expert, agent = reward._of_expert(32), reward.inputs(batch("meta", 32))
        assert reward.logits(torch.cat([expert, agent])).device.type == "meta"
        assert reward._penalty(expert[:32], agent).device.type == "meta"


def world(kind: Any) -> Any:
    return kind(OBS, ACT, members=3, hidden=(8,))


@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_a_world_that_moves_predicts_where_it_is(kind: Any) -> None:
    """On torch's device without memory, but for the two flags that are looked at, which it has not."""
    moved = world(kind).to("meta")
    moved.target_scale.delta, moved.ends_seen = torch.tensor(True), torch.tensor(True)
    rows, draws = batch("meta"), torch.Generator().manual_seed(0)
    asked = rows.obs, rows.action
    given = [
        *moved.predict(*asked),
        *moved.predict_own(*asked),
        *moved.predict_together(*asked),
        moved.uncertainty(*asked),
        *moved.interval(*asked),
    ]
    assert {each.device.type for each in [*given, *moved.step(*asked, draws)]} == {"meta"}


@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_a_world_of_doubles_is_fitted_and_dreams_in_doubles(kind: Any) -> None:
    model = world(kind).double()
    rows = batch("cpu", 100)
    model.fit(rows, rows.obs[:, 0], max_steps=4)
    kinds = {value.dtype for value in model.state_dict().values() if torch.is_tensor(value) and value.dtype.is_floating_point}
    assert kinds == {torch.float64}
    dream = DreamVecEnv(model, rows, 4, 2, eta=-1.0, stop_quantile=0.9)
    dream.reset()
    dream.step(np.zeros((4, 2)))
    assert dream.state_dict()["obs"].dtype == torch.float64
    asked = rows.obs.double(), rows.action.double()
    given = [*model.predict(*asked), model.uncertainty(*asked), *model.interval(*asked), *model.step(*asked, dream.generator)[:2]]
    assert {each.dtype for each in given} == {torch.float64}


SHAPE = (1, 8, 8)
DRAWING: dict[str, Callable[[], Any]] = {
    "GAN": lambda: GAN(SHAPE, categories=(3,), continuous=1),
    "VAE": lambda: VAE(SHAPE),
    "PixelCNN": lambda: PixelCNN(SHAPE),
    "PixelCNN of 256 levels": lambda: PixelCNN(SHAPE, levels=256),
    "CausalTransformer": lambda: CausalTransformer(5, 7),
}
"""Models that draw without a look at any number, which torch's device without memory has not."""


@pytest.mark.parametrize("name", DRAWING)
def test_an_image_model_that_moves_draws_where_it_is(name: str) -> None:
    assert DRAWING[name]().to("meta").sample(2).device.type == "meta"


def test_a_model_that_counts_takes_the_class_of_images_without_labels_to_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the first look at a number, which torch's device without memory has not."""
    asked: list[Any] = []
    monkeypatch.setattr(NaiveBayes, "checked", lambda self, grey: grey)
    monkeypatch.setattr("genrl.models.naive_bayes.checked_labels", lambda *arguments: asked.extend(arguments) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        NaiveBayes(SHAPE).to("meta").count([(torch.rand(3, *SHAPE, device="meta"), None)])
    assert asked[-1] == torch.device("meta")


def test_the_socket_brings_transitions_to_the_reward() -> None:
    obs, no = np.zeros((4, 3)), np.zeros(4, dtype=bool)
    floats = Floats(torch.float32, exact=False, device=torch.device("meta"))
    assert {field.device.type for field in as_transitions(obs, np.zeros((4, 2)), obs, no, floats)} == {"meta"}


def test_gpus_that_nothing_was_computed_on_yet_begin_with_the_seed_of_the_run(monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(3)
    with forked_generators():
        torch.manual_seed(0)
    assert seeds == [3, 0, 3]
