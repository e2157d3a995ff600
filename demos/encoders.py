"""Encoders as the eyes of a learner: what they cost, what they save, and what a policy on their codes reaches.

    python demos/encoders.py bench                                   # speed and memory; demos/results/encoders/bench.json, five minutes
    python demos/encoders.py pilot                                   # one encoder of each kind, one seed each; pilot.json, half an hour
    python demos/encoders.py study demos/studies/pixels.toml         # fits every encoder that the study names, then runs it
    python demos/encoders.py cost runs/eyes/pendulum                 # CPU seconds of a fit and of a step of SAC; cost.json, three minutes

One torch thread; the sides of a comparison take turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from measured import read, write
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import genrl
from genrl.cli import main as command
from genrl.data import Images
from genrl.encoders import EncodedVecEnv, ImageEncoder, Preprocessing, StackedFrames, load_encoder, pretrained
from genrl.files import write_whole
from genrl.generation import GenerateConfig, generate, resume_generation
from genrl.models import RandomNetwork
from genrl.runs import ExploreConfig, explore
from genrl.studies.matrix import Study

RESULTS = "encoders"
SIDE, HISTORY = 64, 3
TASK = "genrl/PixelPendulum-v0"
ARMS = ("vae", "jepa", "mae", "vq-vae", "pca", "random")
FRAMES = 3_000
UNSIZED = ("mae", "vq-vae")
"""Models whose codes have no size of their own to choose."""


def small_encoder(side: int) -> ImageEncoder:
    """Convolutions of 32 channels and a code of 16 numbers, as JEPA's and the random network's."""
    torch.manual_seed(0)
    images = Images(torch.randint(256, (50, 3, side, side), dtype=torch.uint8))
    return ImageEncoder.of(RandomNetwork((3, side, side)), Preprocessing((3, side, side)), images)


class Still(gymnasium.Env[Any, Any]):
    """Costs nothing: the same image at every step."""

    def __init__(self, side: int) -> None:
        self.observation_space = spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.image, self.steps = self.observation_space.sample(), 0

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self.image, {}

    def step(self, _: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.image, 0.0, False, self.steps % 200 == 0, {}


def seconds_per_call(call: Callable[[], Any], calls: int = 15) -> float:
    """CPU seconds of this process. So few calls that a turn is over before the machine has changed its pace."""
    call()
    start = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - start) / calls


def bench_overhead() -> list[dict[str, float]]:
    """What a step of EncodedVecEnv takes beyond the environments' step and the encoder's forward, as a share of that forward."""
    rows = []
    for side, n_envs in ((32, 1), (32, 8), (64, 1), (64, 8)):
        rows.append(overhead(side, n_envs))
        print(rows[-1], flush=True)
    return rows


def overhead(side: int, n_envs: int) -> dict[str, float]:
    encoder = small_encoder(side)
    plain, inner = (DummyVecEnv([lambda: Still(side)] * n_envs) for _ in range(2))
    coded = EncodedVecEnv(inner, encoder, history=HISTORY, actions=True)
    pixels = np.asarray(plain.reset())
    coded.reset()
    actions = np.zeros((n_envs, 1), np.float32)

    def forward(pixels: np.ndarray = pixels) -> None:
        with torch.inference_mode():
            encoder(torch.from_numpy(pixels).permute(0, 3, 1, 2))

    def apart() -> None:
        """The same by hand, with caches as cold as they are there."""
        forward(np.asarray(plain.step(actions)[0]))

    turns = [[seconds_per_call(call) for call in (apart, lambda: coded.step(actions), forward)] for _ in range(150)]
    by_hand, whole, own = (float(np.percentile(times, 10)) for times in zip(*turns, strict=True))
    return {"side": side, "n_envs": n_envs, "forward_ms": 1e3 * own, "overhead": (whole - by_hand) / own}


def environments(codes: bool, n_envs: int) -> VecEnv:
    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(TASK, size=SIDE)
        return env if codes else StackedFrames(env, HISTORY)

    env: VecEnv = DummyVecEnv([make] * n_envs)
    return EncodedVecEnv(env, small_encoder(SIDE), history=HISTORY) if codes else env


def learner(name: str, codes: bool) -> Any:
    policy = "MlpPolicy" if codes else "CnnPolicy"
    if name == "SAC":
        return SAC(policy, environments(codes, 1), learning_starts=20, buffer_size=2_000, device="cpu", seed=0)
    return PPO(policy, environments(codes, 4), n_steps=64, device="cpu", seed=0)


def bench_learner(name: str, steps: dict[bool, int], turns: int = 3) -> dict[str, Any]:
    """Environment steps a second, with all learning, of a learner on codes and of the same on 64 × 64 × 3 × 3 images (NatureCNN)."""
    models = {codes: learner(name, codes) for codes in (True, False)}
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for codes, model in models.items():
        model.learn(40 if name == "SAC" else 256)  # past the first steps, which do not learn
        del codes
    for _ in range(turns):
        for codes, model in models.items():
            before, start = model.num_timesteps, time.process_time()
            model.learn(steps[codes], reset_num_timesteps=False)
            speeds[codes].append((model.num_timesteps - before) / (time.process_time() - start))
    fast, slow = (statistics.median(speeds[codes]) for codes in (True, False))
    found = {"codes": fast, "images": slow, "ratio": fast / slow, "turns": {"codes": speeds[True], "images": speeds[False]}}
    print(name, found, flush=True)
    return found


def bench_memory() -> dict[str, float]:
    """Bytes of a row of SAC's replay: three codes of 16 numbers, and one frame of 64 × 64 × 3; observation and next observation."""
    codes = SAC("MlpPolicy", environments(True, 1), buffer_size=100, device="cpu").replay_buffer
    image = SAC("CnnPolicy", DummyVecEnv([lambda: gymnasium.make(TASK, size=SIDE)]), buffer_size=100, device="cpu").replay_buffer
    rows = {
        name: (buffer.observations.nbytes + buffer.next_observations.nbytes) / buffer.buffer_size
        for name, buffer in (("codes", codes), ("one_image", image))
        if buffer is not None
    }
    return rows | {"ratio": rows["one_image"] / rows["codes"]}


def bench(only: str | None) -> None:
    torch.set_num_threads(1)
    found = read(f"{RESULTS}/bench")
    if only != "learners":
        found["overhead"] = bench_overhead()
    if only != "overhead":
        found["replay_bytes_a_row"] = bench_memory()
        found["steps_per_second"] = {
            "SAC": bench_learner("SAC", {True: 400, False: 30}),
            "PPO": bench_learner("PPO", {True: 1_024, False: 256}),
        }
    write(f"{RESULTS}/bench", found)


def eyes(folder: Path, arm: str, task: str, seed: int, frames: int = FRAMES, **recorded: Any) -> Path:
    """The run directory of an encoder, fitted if it is not there; `cpu_seconds.json` says what that took, frames and all.

    ``recorded`` is how frames are recorded: env_kwargs, every and archive of `GenerateConfig`.

    An ``arm`` is a model's name, such as "vae", or "vae2" for codes of 2 numbers; a model without a size for its code keeps so many
    principal components.
    """
    out = folder / f"{arm}-{seed}"
    if not (out / "encoder.safetensors").is_file():
        print(f"fitting {out}", flush=True)
        start = time.process_time()
        if (out / "config.json").is_file():
            resume_generation(out, quiet=True)
        else:
            model = arm.rstrip("0123456789")
            about: dict[str, Any] = {"data": f"frames:{task}", "frames": frames} | recorded
            if arm != model:
                size = int(arm.removeprefix(model))
                about |= {"code": size} if model in UNSIZED else {"model_kwargs": {"latent": size}}
            generate(GenerateConfig(model=model, seed=seed, judge_images=0, out=out, **about), quiet=True)
        write_whole(out / "cpu_seconds.json", f"{time.process_time() - start:.1f}\n".encode())
    return out


def cost(folder: Path, turns: int = 3, steps: int = 40) -> None:
    """CPU seconds of each encoder's fit, and of a step of the studies' SAC with its learning: on codes, on the state, and on images."""
    torch.set_num_threads(1)
    given: dict[str, Any] = {"learning_starts": 20, "learning_rate": 1e-3, "device": "cpu", "seed": 0, "buffer_size": 10_000}
    arch = {"net_arch": [128, 128]}
    models: dict[str, SAC] = {}
    for name, path in {path.parent.name.rpartition("-")[0]: path.parent for path in sorted(folder.glob("*/encoder.safetensors"))}.items():
        encoder = load_encoder(path)
        coded = EncodedVecEnv(DummyVecEnv([lambda: gymnasium.make(TASK)]), encoder, history=HISTORY)
        models[name] = SAC("MlpPolicy", coded, policy_kwargs=arch, **given)
        if name == "jepa":
            models["finetuned"] = SAC(
                "CnnPolicy", stacked(32), batch_size=64, policy_kwargs=pretrained(encoder, train=True) | arch, **given
            )
    models["end-to-end"] = SAC("CnnPolicy", stacked(36), batch_size=64, policy_kwargs=arch, **given)
    state = DummyVecEnv([lambda: gymnasium.make(TASK, observe="state")])
    models["state"] = SAC("MlpPolicy", state, policy_kwargs=arch, **given)
    spent: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(turns + 1):
        for name, model in models.items():
            start = time.process_time()
            model.learn(steps, reset_num_timesteps=False)
            if turn:  # the first steps do not learn
                spent[name].append((time.process_time() - start) / steps)
    fits = {path.parent.name: float(path.read_text()) for path in sorted(folder.glob("*/cpu_seconds.json"))}
    write(f"{RESULTS}/cost", {"task": TASK, "fit_seconds": fits, "step_seconds": {name: min(times) for name, times in spent.items()}})


def stacked(side: int) -> VecEnv:
    """The task whose observations are its last frames themselves."""
    return DummyVecEnv([lambda: StackedFrames(gymnasium.make(TASK, size=side), HISTORY)])


def pilot(steps: int, arms: tuple[str, ...], out: Path) -> None:
    """SAC on codes of the plain PixelPendulum, one seed: minutes, the probe, and the return of ten episodes."""
    rows = []
    for arm in (*arms, "state"):
        start = time.perf_counter()
        sight = None
        values: dict[str, Any] = {"env_kwargs": {"observe": "state"}}
        if arm != "state":
            path = eyes(out / "eyes", arm, TASK, 0)
            sight = load_sight(path)
            values = {"encoder": path}
        fitted = time.perf_counter() - start
        config = ExploreConfig(
            env=TASK, learner="sac", reward="none", steps=steps, out=out / arm, pictures=False, eval_episodes=10,
            learner_kwargs={"learning_starts": 1_000, "learning_rate": 1e-3, "net_arch": (128, 128)}, **values,
        )  # fmt: skip
        result = explore(config, quiet=True)
        rows.append(
            {"arm": arm, "return": result["evaluation_return"], "fit_minutes": fitted / 60, "learn_minutes": result["seconds"] / 60}
            | {"probe": sight, "error": result["error"]}
        )
        print(rows[-1], flush=True)
        write(f"{RESULTS}/pilot", {"task": TASK, "frames": FRAMES, "steps": steps, "arms": rows})


def load_sight(path: Path) -> Any:
    import json

    known = json.loads((path / "result.json").read_text())["encoder"]
    return known["sight"]["state"] if known and known["sight"] else None


def study(path: Path, frames: int, recorded: dict[str, Any], env_kwargs: dict[str, Any], plain: bool, fit_only: bool) -> int:
    """Fit every encoder that a cell of the study is still to use, to frames of its task, then run the study.

    Frames are of the task with ``env_kwargs`` and, unless ``plain``, the study's own keywords.
    """
    for cell in Study.load(path).cells:
        if cell.config.encoder is not None and not (cell.path / "result.json").is_file():
            out = Path(str(cell.config.encoder).replace("{seed}", str(cell.seed)))
            about = ({} if plain else dict(cell.config.env_kwargs)) | env_kwargs
            arm = out.name.rpartition("-")[0]
            load_encoder(eyes(out.parent, arm, cell.config.env, cell.seed, frames, env_kwargs=about, **recorded))
    return 0 if fit_only else command(["study", str(path)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bench", "pilot", "study", "cost"))
    parser.add_argument("file", nargs="?", type=Path, default=Path("demos/studies/pixels.toml"))
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames of a task that each encoder of a study is fitted to")
    parser.add_argument("--every", type=int, help="keep every so many-th frame of an episode, so that frames reach further into episodes")
    parser.add_argument("--archive", type=int, help="steps of an archive, at whose places half of the frames begin")
    parser.add_argument("--frames-env", nargs="*", default=(), metavar="NAME=VALUE", help="keywords of the task while frames are recorded")
    parser.add_argument("--plain-frames", action="store_true", help="fit to frames of the task without the study's keywords for it")
    parser.add_argument("--fit-only", action="store_true", help="fit the encoders of a study, and train nothing")
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--arms", nargs="*", default=ARMS)
    parser.add_argument("--out", type=Path, default=Path("runs/pilot"))
    parser.add_argument("--only", choices=("overhead", "learners"), help="bench one of the two, and keep what the file says of the other")
    given = parser.parse_args()
    assert genrl.__version__
    if given.what == "bench":
        bench(given.only)
    elif given.what == "pilot":
        pilot(given.steps, tuple(given.arms), given.out)
    elif given.what == "cost":
        cost(given.file)
    else:
        how = {"every": given.every, "archive": given.archive}
        keywords = dict(keyword.split("=") for keyword in given.frames_env)
        keywords = {name: int(value) if value.isdigit() else value for name, value in keywords.items()}
        raise SystemExit(study(given.file, given.frames, how, keywords, given.plain_frames, given.fit_only))
