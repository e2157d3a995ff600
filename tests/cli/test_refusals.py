"""What can't be is one sentence on stderr: what was given, what is needed, what to type. Exit code 2, and nothing is written."""

import sys

import gymnasium
import pytest

from genrl.cli import main

SURPRISE = "tests.runs.tiny:Surprise"
SEE = "; see `genrl explore --help`"

BAD = {
    "explor": "there is no command 'explor'; did you mean explore or export?",
    "explore --env CartPol-v1": "there is no task 'CartPol-v1'; did you mean CartPole-v1 or CartPole-v0?",
    "explore --env nomodule:X-v0": "the module of --env nomodule:X-v0 could not be imported (No module named 'nomodule'); "
    "run genrl from the folder that holds it",
    "explore --env.thresh 3": "genrl/SparseMountainCar-v0 could not be made with --env.thresh 3: "
    "SparseMountainCarEnv.__init__() got an unexpected keyword argument 'thresh'",
    "explore --env.threshold": "--env.threshold needs a value, such as --env.threshold 1 or --env.threshold True",
    "explore --learner ppoo": "there is no learner 'ppoo'; did you mean ppo?",
    "explore --reward vim": "there is no reward 'vim'; did you mean vime?",
    "explore --reward math:sin": "the reward 'math:sin' is not a subclass of genrl.rewards.RewardModel",
    "explore --reward tests.runs.tiny:Suprise": "module tests.runs.tiny has no 'Suprise'; did you mean Surprise?",
    "explore --reward none --reward.step-size 3": f"the chosen reward has no --reward.step-size{SEE}",
    "explore --lerner ppo": f"there is no flag --lerner; did you mean --learner{SEE}",
    "explore --learner ppo --learner.gama 0.9": "the chosen learner has no --learner.gama; "
    f"did you mean --learner.gamma or --learner.gae-lambda{SEE}",
    "explore --learner ppo --learner.gamma high": "--learner.gamma needs a value of the form FLOAT "
    f"(could not convert string to float: 'high'){SEE}",
    "explore --learner ppo --learner.n-steps 1.5": "--learner.n-steps needs a value of the form INT "
    f"(invalid literal for int() with base 10: '1.5'){SEE}",
    "explore --weight Auto": f"--weight needs a value of the form FLOAT|{{auto}}, but was given 'Auto'{SEE}",
    "imitate --reward rnd --learner sac --demos it.npz": "--reward rnd sees nothing of the demonstrations and --extrinsic-weight is 0, "
    "so novelty alone pays; add --extrinsic-weight 1 for the task's own reward, or type --reward gail; "
    "see `genrl imitate --help`",
    "imitate --weight auto": "--weight auto weighs the bonus against the task's own reward, but --extrinsic-weight is 0; "
    "leave --weight out, or type --extrinsic-weight 1; see `genrl imitate --help`",
    "explore --seed": f"--seed needs a value of the form INT{SEE}",
    "explore fast": f"nothing takes the word 'fast'{SEE}",
    "explore --pictures False": f"--pictures takes no value, but was given False; type --pictures or --no-pictures{SEE}",
    "explore --no-pictures=true": f"--no-pictures takes no value, but was given true; type --pictures or --no-pictures{SEE}",
    "explore --learner.use-sde True": "--learner.use-sde takes no value, but was given True; type --learner.use-sde or "
    f"--learner.no-use-sde{SEE}",
    "explore --steps 0": f"--steps is 0, but must be at least 1{SEE}",
    "explore --update-every 0": f"--update-every is 0, but must be at least 1{SEE}",
    "explore --noise held-8 --noise-std 0": f"--noise-std is 0.0, but must be positive and finite{SEE}",
    "explore --noise brown": f"--noise is brown, but must be own, pink, or held-N, such as held-8{SEE}",
    "explore --noise-std 0.2": f"--noise-std was given, but --noise is own; add --noise pink or --noise held-8{SEE}",
    "explore --env CartPole-v1 --learner sac": "SAC can't take the actions of CartPole-v1, Discrete(2); "
    "use --learner ppo, trpo, a2c, recurrentppo, dqn or qrdqn",
    "explore --env Pendulum-v1 --learner dqn": "DQN can't take the actions of Pendulum-v1, Box(-2.0, 2.0, (1,), float32); "
    "use --learner ppo, trpo, a2c, recurrentppo, sac, td3, tqc, crossq or ddpg",
    "explore --env CartPole-v1 --learner maskableppo": "MaskablePPO needs a task with a method action_masks(), "
    "which CartPole-v1 has not; use --learner ppo",
    f"explore --env genrl/PixelPendulum-v0 --reward {SURPRISE}": f"--reward {SURPRISE} on genrl/PixelPendulum-v0: "
    "Surprise takes no images, but was given Box(3, 32, 32); "
    "give it the codes of an encoder: EncodedVecEnv(venv, load_encoder('RUN')) from genrl.encoders, or --encoder RUN without --finetune",
    "explore --env Pendulum-v1 --env.g 1e999": "g is inf, which a run does not keep; give a finite number",
    "explore --env FrozenLake-v1 --learner ppo --reward none --normalize-obs": "--normalize-obs can't take the observations of "
    "FrozenLake-v1: there is no mean of Discrete; type --no-normalize-obs",
    "explore --env FrozenLake-v1 --learner dqn --reward none --normalize-reward": "--normalize-reward fails in Stable-Baselines3 where a "
    "learner with a replay buffer observes a Discrete, as dqn does on FrozenLake-v1; leave it out, or use --learner ppo",
    "explore --device gpu": "--device is 'gpu', which torch does not know; type cpu, cuda, cuda:1, mps or auto",
    "explore --device cuda:63": "--device is cuda:63, but torch finds no such device here; type --device cpu",
    "explore --coverage x y": "--coverage x is no observation and no key of info; it has position, velocity and the indices below 2",
    "explore --env Pendulum-v1 --coverage x y": "--coverage x is no observation and no key of info; it has the indices below 3",
    "explore --out taken": "taken already holds a run; go on with it by `genrl resume taken`, or choose another --out",
    "explore --out full": "full exists and is not empty; choose another --out",
    "watch taken/model.zip": "taken/model.zip is no run, but lies in one; did you mean taken?",
    "resume take": "take holds no run; did you mean taken?",
    "resume many": "many is a study, whose runs are in many/cells; name one of them (`genrl study` goes on with all)",
    "resume taken": "taken was stopped before its first checkpoint, or has lost it; restore checkpoint.safetensors from a copy, or "
    "delete the run and start again with `genrl explore`",
    "watch taken": "taken has no model.zip yet; let it train for a moment, or go on with `genrl resume taken`",
    "watch": "RUN must be given; see `genrl watch --help`",
    "watch taken --dream --stochastic": "--dream and --stochastic were given, but in reality and in the dream the policy takes its most "
    "likely actions; leave --stochastic out",
    "screen --archive-starts 3": "--archive-starts was given, but there is no archive; add --archive FILE",
    "screen --archive found.npz --archive-starts 0": "--archive-starts is 0, but must be at least 1",
    "screen --archive found.npz --archive-starts 3 --steps 2": "--archive-starts is 3, but must be at most --steps 2, "
    "one step for each start",
    "watch taken --seed -1": "--seed is -1, but must be at least 0 and below 2 to the 63",
    "record --run taken --out it.npz --seed -1": "--seed is -1, but must be at least 0 and below 2 to the 63",
    "generate --data mnist --frames 500": "--frames was given, but --data mnist records nothing; write --data frames:TASK; "
    "see `genrl generate --help`",
    "generate --data mnist --model pixelcnn --judge-samples 9": "--judge-samples is 9, but --model pixelcnn has no bound that takes "
    "samples; leave --judge-samples out",
    "generate --data mnist --history 5": "--history was given, but --data mnist records nothing; write --data frames:TASK; "
    "see `genrl generate --help`",
}


@pytest.mark.parametrize(("words", "sentence"), BAD.items(), ids=list(BAD))
def test_one_sentence_and_exit_code_2(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "study.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err == f"genrl: {sentence}\n"
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("explore --env minigrid:MiniGrid-Empty-5x5-v0", "type: pip install 'genrl-toolkit[grids]'"),
        ("explore --env vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1", "type: pip install 'genrl-toolkit[doom]'"),
        ("explore --env genrl/MiniGrid-v0", 'The grid task needs minigrid: pip install "genrl-toolkit[grids]"'),
        ("explore --env MiniGrid-Empty-5x5-v0", "type --env genrl/MiniGrid-v0 --env.grid MiniGrid-Empty-5x5-v0"),
    ],
)
def test_a_task_of_a_package_that_is_not_installed_says_which_extra_brings_it(words, sentence, monkeypatch, capsys):
    for module in ("minigrid", "vizdoom"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "genrl_envs.grids", raising=False)
    monkeypatch.delitem(gymnasium.registry, "MiniGrid-Empty-5x5-v0", raising=False)
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_a_directory_that_cannot_be_written_is_refused(capsys):
    assert main(["explore", "--out", "/proc/run"]) == 2
    assert capsys.readouterr().err.startswith("genrl: /proc/run can't be written (")
