"""Runs that are killed at random moments and resumed, again and again, end as the run that nobody killed.

`pytest tests/runs/test_kills.py -m slow` kills every learner, every reward, dreams, a run with an encoder and six image models 60 times in
all; GENRL_KILLS asks for another number, and GENRL_KILLS_RESULT names a JSON file that is told what became of each. What was found is in
demos/results/kills.json.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrl.files import write_whole
from genrl.roles import LEARNERS, REWARDS
from tests.runs.same_directory import assert_same_directory

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("GENRL_KILLS", "60"))
"""Kills over all runs, at least."""
SHORT = "--no-pictures --eval-episodes 1 --checkpoint-every 0 --learner.net-arch 8"
ROLLOUTS = f"{SHORT} --learner.n-steps 32"
REPLAY = f"{SHORT} --learner.learning-starts 32 --learner.batch-size 16 --learner.buffer-size 300"
PENDULUM, POLE, MASKED = "--env Pendulum-v1", "--env CartPole-v1", "--env tests.runs.tiny:tests/Masked-v0"
DEMOS = f"--demos {ROOT / 'demos' / 'invertedpendulum.hdf5'} --episodes 2 --every 20"
DREAM = "--fit-steps 20 --world.members 2 --world.hidden 8"
GENERATE = "generate --no-pictures --judge-images 0 --data IMAGES --batch-size 16"
RUNS = {
    "ppo, vime": f"explore {PENDULUM} --learner ppo --reward vime --n-envs 2 --normalize-obs {ROLLOUTS} --steps 2048",
    "trpo, rnd": f"explore {POLE} --learner trpo --reward rnd {ROLLOUTS} --steps 1024",
    "a2c, counts": f"explore {POLE} --learner a2c --reward counts --normalize-reward {ROLLOUTS} --steps 2048",
    "recurrentppo, icm": f"explore {PENDULUM} --learner recurrentppo --reward icm {ROLLOUTS} --learner.n-epochs 2 --steps 512",
    "maskableppo, disagreement": f"explore {MASKED} --learner maskableppo --reward disagreement {ROLLOUTS} --steps 1024",
    "sac, disagreement": f"explore {PENDULUM} --learner sac --reward disagreement --update-every 50 {REPLAY} --steps 200",
    "td3, state-entropy": f"explore {PENDULUM} --learner td3 --reward state-entropy --update-every 50 --noise pink {REPLAY} --steps 200",
    "tqc, prediction-error": f"explore {PENDULUM} --learner tqc --reward prediction-error --normalize-obs {REPLAY} --steps 200",
    "crossq, rnd": f"explore {PENDULUM} --learner crossq --reward rnd --update-every 50 {REPLAY} --steps 200",
    "ddpg, counts": f"explore {PENDULUM} --learner ddpg --reward counts --n-envs 2 {REPLAY} --steps 300",
    "dqn, vime": f"explore {POLE} --learner dqn --reward vime --update-every 50 {REPLAY} --steps 300",
    "qrdqn, icm": f"explore {POLE} --learner qrdqn --reward icm --learner.n-steps 3 {REPLAY} --steps 300",
    "ppo, gail": f"imitate {DEMOS} --learner ppo --reward gail --n-envs 2 --clone 20 --critic-warmup 200 {ROLLOUTS} --steps 1024",
    "ppo, airl": f"imitate {DEMOS} --learner ppo --reward airl --n-envs 2 --subproc --clone 0 {ROLLOUTS} --steps 1024",
    "ppo, constant": f"imitate {DEMOS} --learner ppo --reward constant --n-envs 1 {ROLLOUTS} --steps 1024",
    "sac, gaifo": f"imitate {DEMOS} --learner sac --reward gaifo --update-every 50 {REPLAY} --steps 200",
    "td3, vail": f"imitate {DEMOS} --learner td3 --reward vail --update-every 50 {REPLAY} --steps 200",
    "sac, sqil": f"imitate {DEMOS} --learner sac --reward sqil {REPLAY} --steps 200",
    "ppo, dream": f"dream --learner ppo --dream-every 64 --dreamed-steps 400 {DREAM} {ROLLOUTS} --learner.batch-size 32 --steps 640",
    "sac, dream": f"dream --learner sac --dream-every 50 --dreamed-steps 64 --world bayesian --fit-steps 20 {REPLAY} --steps 320",
    "ppo, encoder": f"explore --env genrl/PixelPendulum-v0 --encoder EYES --learner ppo --reward rnd --past-actions {ROLLOUTS} --steps 320",
    "vae": f"{GENERATE} --model vae --epochs 20",
    "pixelcnn": f"{GENERATE} --model pixelcnn --model.width 8 --model.depth 1 --epochs 8",
    "vq-vae": f"{GENERATE} --model vq-vae --model.width 8 --model.depth 1 --model.heads 1 --epochs 12",
    "gan": f"{GENERATE} --model gan --model.width 8 --epochs 12",
    "diffusion": f"{GENERATE} --model diffusion --model.width 32 --model.steps 4 --epochs 3",
    "realnvp": f"{GENERATE} --model realnvp --model.width 4 --epochs 2",
}
"""What is killed; a run saves after each rollout, step or epoch."""
for part in REWARDS.parts:
    if not any(name.endswith(f", {part.name}") for name in RUNS):
        how = f"imitate {DEMOS} --clone 0" if "demonstrations" in part.needs else f"explore {PENDULUM}"
        RUNS[f"ppo, {part.name}"] = f"{how} --learner ppo --reward {part.name} --n-envs 2 {ROLLOUTS} --steps 1024"


def test_every_learner_and_reward_is_killed() -> None:
    learners, rewards = (set(kind) for kind in zip(*(name.split(", ") for name in RUNS if ", " in name), strict=True))
    assert {part.name for part in LEARNERS.parts} == learners
    assert {part.name for part in REWARDS.parts} == rewards - {"dream", "encoder"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_killed_at_random_ends_as_one_that_is_not(name: str, tmp_path: Path) -> None:
    words, rng = prepared(RUNS[name], tmp_path), random.Random(name)
    begun, span = timed(words, tmp_path / "whole")
    kills = attempts = 0
    while kills < -(-KILLS // len(RUNS)):
        attempts += 1
        killed = tmp_path / f"killed{attempts}"
        while not finished(words, killed, begun + rng.uniform(0, 0.6) * span):
            kills += 1
        assert_same_directory(tmp_path / "whole", killed)
        assert attempts < 20, "this run ends before it can be killed"
    tell(name, kills)


def prepared(command: str, folder: Path) -> list[str]:
    """The words of a command, whose images or encoder are made in ``folder``."""
    if "IMAGES" in command:
        made: Any = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)
        np.savez(folder / "images.npz", images=made)
    if "EYES" in command:
        from tests.runs.test_vision import saved

        saved(folder / "eyes")
    return [{"IMAGES": str(folder / "images.npz"), "EYES": str(folder / "eyes")}.get(word, word) for word in command.split()]


def live(words: list[str], out: Path, said: Path) -> None:
    """The life of a process: a run in ``out``, or the rest of the one that is there."""
    from genrl.cli import main

    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1), os.dup2(stream, 2)
    os.environ["OMP_NUM_THREADS"] = "1"
    own = ["--imports", "tests.runs.tiny"] if any("tests.runs.tiny" in word for word in words) else []
    code = main(["resume", str(out), *own] if (out / "config.json").is_file() else [*words, "--out", str(out)])
    os._exit(code)


def start(words: list[str], out: Path) -> BaseProcess:
    """A process in which the libraries are imported already; but for that, it is a command's own."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["genrl.cli", "genrl.generation", "genrl.runs.dreams.comparison", "sb3_contrib"])
    process: BaseProcess = context.Process(target=live, args=(words, out, out.with_suffix(".said")))
    process.start()
    return process


def timed(words: list[str], out: Path) -> tuple[float, float]:
    """Run to the end; seconds until the run directory was there, and from then on."""
    begin, begun = time.monotonic(), None
    process = start(words, out)
    while process.is_alive():
        if begun is None and (out / "config.json").is_file():
            begun = time.monotonic()
        time.sleep(0.01)
    assert process.exitcode == 0, out.with_suffix(".said").read_text()
    assert begun is not None
    return begun - begin, time.monotonic() - begun


def finished(words: list[str], out: Path, seconds: float) -> bool:
    """Let a run go on, and kill it after so many seconds; whether it ended before."""
    process = start(words, out)
    process.join(seconds)
    process.kill()
    process.join()
    if process.exitcode == -signal.SIGKILL:
        return False
    said = out.with_suffix(".said").read_text()
    assert process.exitcode == 0 or "has all its" in said, said  # killed between its last write and its end
    return True


def tell(name: str, kills: int) -> None:
    if path := os.environ.get("GENRL_KILLS_RESULT"):
        known = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
        write_whole(path, (json.dumps(known | {name: {"kills": kills, "equal": True}}, indent=1) + "\n").encode())
