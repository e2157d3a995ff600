"""The mean of the last policies of an imitation, taken back: in Python, by the commands, and to the hub."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import genrl
from genrl.cli import main
from genrl.errors import RunError
from genrl.reading import read_json
from genrl.runs import ImitateConfig, RunDirectory, explore, imitate, record
from genrl.runs.uses.hub import push
from tests.runs.hub import hub
from tests.runs.tiny import SMALL, config


@pytest.fixture(scope="module", params=["ppo", "sac"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """An imitation of a few steps that averages the policies of their second half."""
    folder = tmp_path_factory.mktemp("averaged")
    explore(config(folder / "expert", normalize_obs=True), quiet=True)
    record(folder / "expert", folder / "demos.npz", episodes=2)
    small: dict[str, Any] = {"steps": 400, "n_envs": 1, "clone": 0, "eval_episodes": 2, "pictures": False, "average": 0.5}
    small |= {"learner_kwargs": SMALL[request.param] | {"net_arch": (8,)}, "reward_kwargs": {"updates": 2, "batch_size": 16}}
    imitate(ImitateConfig(demos=folder / "demos.npz", out=folder / "run", learner=request.param, **small), quiet=True)
    return RunDirectory(folder / "run")


def test_it_earns_in_python_what_the_run_says_that_it_earned(run):
    result, average, last = read_json(run.result), genrl.load(run.path, average=True), genrl.load(run.path)
    assert average.evaluate(2) == result["averaged_returns"]
    assert last.evaluate(2) == result["evaluation_returns"] != result["averaged_returns"]
    obs = average.make_env().reset(seed=0)[0]
    assert average.predict(obs)[0] != last.predict(obs)[0]


def test_record_and_export_take_it(run, tmp_path):
    average = genrl.load(run.path, average=True)
    assert main(["record", "--run", str(run.path), "--average", "--episodes", "1", "--out", str(tmp_path / "demos.npz")]) == 0
    assert genrl.data.Demonstrations.load(tmp_path / "demos.npz").returns[0] == pytest.approx(average.evaluate(1, seed=1000)[0], rel=1e-5)
    words = ["--average", "--sb3", str(tmp_path / "sb3"), "--torchscript", str(tmp_path / "policy.pt")]
    assert main(["export", str(run.path), *words]) == 0
    obs = average.make_env().reset(seed=0)[0]
    action = torch.jit.load(tmp_path / "policy.pt")(torch.as_tensor(obs[None]))[0]
    np.testing.assert_allclose(action.numpy(), average.predict(obs)[0], atol=1e-5)
    model = type(average.learner).load(tmp_path / "sb3/model.zip")
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, average.learner.policy.state_dict()[name])


def test_what_is_pushed_is_that_policy_and_the_number_on_its_card(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hub(tmp_path / "hub", monkeypatch):
        push(run.path, "me/it", average=True)
        again = genrl.load(genrl.runs.pull("me/it"))
    result = read_json(run.result)
    assert again.evaluate(2) == result["averaged_returns"]
    row = f"| return of deterministic episodes, mean | {result['averaged_return']:.4g}"
    assert row[:-2] in (tmp_path / "hub/me/it/README.md").read_text()


def test_the_end_of_a_run_says_how_to_take_it(run, capsys):
    from genrl.cli._ending import report

    report(read_json(run.result), run.path)
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f"watch it: genrl watch {run.path}", f"watch the last policies' mean: genrl watch {run.path} --average"]


def test_a_run_without_it_says_what_keeps_it(tmp_path):
    explore(config(tmp_path / "run"), quiet=True)
    with pytest.raises(RunError, match=r"has no average.safetensors; a `genrl imitate` that is started with --average SHARE keeps"):
        genrl.load(tmp_path / "run", average=True)
    with pytest.raises(RunError, match="were asked for; leave out --best or --average"):
        genrl.load(tmp_path / "run", best=True, average=True)


def test_the_layout_of_the_file_is_that_of_a_pulled_policy(run):
    assert set(genrl.files.load_state(run.average)) == {"policy"}
    assert json.loads(run.config.read_text())["average"] == 0.5
