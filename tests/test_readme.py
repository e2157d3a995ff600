"""What the README says to type works."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sb3_contrib import TRPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer

from genrl.rewards import RewardCallback, RewardModel

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, README.parent / "docs/howto/own_reward.md", README.parent / "docs/start/images.md"]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)]


def test_the_one_line_integration_trains():
    code = next(block for block in BLOCKS if "from sb3_contrib import TRPO" in block)
    assert "100_000" in code
    names: dict[str, object] = {}
    exec(code.replace("100_000", "2048"), names)
    model = names["model"]
    assert isinstance(model, TRPO)
    assert model.num_timesteps == 2048
    assert type(model.rollout_buffer) is RolloutBuffer  # nothing is left behind


def test_the_imitation_trains(monkeypatch):
    monkeypatch.chdir(README.parent)
    code = next(block for block in BLOCKS if "GAIL(" in block)
    names: dict[str, object] = {}
    exec(code.replace("30_000", "300"), names)
    model = names["model"]
    assert isinstance(model, SAC)
    assert model.num_timesteps == 300
    assert type(model.replay_buffer) is ReplayBuffer


def test_the_reward_of_your_own_is_a_reward(monkeypatch):
    module = ModuleType("my_rewards")
    monkeypatch.setitem(sys.modules, "my_rewards", module)
    code = next(block for block in BLOCKS if "class Distance" in block)
    assert len(code.strip().splitlines()) <= 26
    exec(code, module.__dict__)
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, n_epochs=1, seed=0)
    reward = module.Distance(model.observation_space, model.action_space, power=2.0)
    assert isinstance(reward, RewardModel)
    callback = RewardCallback(reward)
    model.learn(64, callback=callback)
    assert float(reward.stats.count) == 64
    assert callback.last_bonus.shape == (32, 1)
    assert (callback.last_bonus > 0).all()


@pytest.mark.shared
def test_the_image_model_is_fitted(monkeypatch, shared):
    monkeypatch.setenv("GENRL_DATA", str(shared / "data/images"))
    code = next(block for block in BLOCKS if "VAE(" in block)
    names: dict[str, Any] = {}
    exec(code.replace("epochs=20", "epochs=1, progress=False").replace('("mnist").train', '("mnist").train[:600]'), names)
    vae, x = names["vae"], names["x"]
    assert vae.sample(64).shape == (64, 1, 28, 28)
    assert vae.encode(x).shape == (100, 32)
    assert vae.log_prob(x, samples=5).isfinite().all()


def test_every_table_is_filled_from_a_results_file():
    text = "\n".join(page.read_text() for page in (README.parent / "docs/evidence").glob("*.md"))
    from demos.tables import TABLES

    for name, make in TABLES.items():
        found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, flags=re.S)
        assert found, name
        assert found[1].strip() == "\n".join(make()).strip(), f"run python -m demos.tables: the table {name} is not what demos/results says"


def test_no_result_names_a_path_of_the_machine_that_found_it():
    results = [path for path in (README.parent / "demos/results").iterdir() if path.suffix in (".json", ".csv")]
    named = {path.name: re.findall(r"""(?:^|[\s"'=,])(/[\w.-]+/[^\s"']*)""", path.read_text(), flags=re.M) for path in results}
    assert results and not {name: paths for name, paths in named.items() if paths}


def test_the_command_of_a_result_has_no_path_of_the_machine(monkeypatch, tmp_path):
    from demos import measured

    monkeypatch.setattr(measured, "RESULTS", tmp_path / "project" / "demos" / "results")
    given = [
        "demos/x.py",
        "--demos",
        str(tmp_path / "shared" / "walker" / "v0"),
        "--peer",
        str(tmp_path / "venv/bin/python"),
        "--minutes",
        "5",
    ]
    monkeypatch.setattr("sys.argv", given)
    measured.write("found", {"n": 1})
    command = json.loads((measured.RESULTS / "found.json").read_text())["about"]["command"]
    assert command == "python demos/x.py --demos ../shared/walker/v0 --peer python --minutes 5"


def test_the_readme_is_read_in_one_sitting():
    assert len(README.read_text().splitlines()) <= 150
