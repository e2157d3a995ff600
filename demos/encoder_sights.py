"""What a finished study of encoders saw: `python demos/encoder_sights.py runs/pixels_distractors`, after `demos/encoders.py study`.

For each run the probes of its encoder, its return, and that of the same policy where the colours are others; a minute for ten runs. Draws
the learning curves and what each encoder sees.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot
from measured import write

import genrl
from genrl.encoders import EncodedEnv, load_encoder, what_it_sees
from genrl.generation.frames_file import load_frames
from genrl.reading import read_json

RESULTS = "encoders/distractors"
PALETTES, EPISODES, SEED = (1, 2, 3), 5, 10_000
COLOURS = {"jepa": "#2c7fb8", "vae": "#d95f0e", "pca": "#7a7a7a", "random": "#b0b0b0", "state": "#222222", "mae": "#31a354"}


def arm_of(config: Mapping[str, Any]) -> str:
    return "state" if config["encoder"] is None else str(config["encoder"]).rpartition("/")[2].removesuffix("-{seed}")


def recoloured(run: Path, config: Mapping[str, Any]) -> float | None:
    """Mean return of the policy over other palettes; ``None`` of one that sees no picture."""
    if config["encoder"] is None:
        return None
    loaded = genrl.load(run)
    returns = []
    for palette in PALETTES:
        env = EncodedEnv(gymnasium.make(config["env"], **config["env_kwargs"], colours=palette), loaded.encoder, config["history"] or 3)
        for episode in range(EPISODES):
            obs, _ = env.reset(seed=SEED + episode)
            total, done = 0.0, False
            while not done:
                obs, reward, terminated, truncated, _ = env.step(loaded.predict(obs)[0])
                total, done = total + float(reward), terminated or truncated
            returns.append(total)
    return float(np.mean(returns))


def seen(eyes: Path) -> dict[str, Any]:
    """The probes of an encoder, on the frames that its run kept, and the seconds of its fit."""
    frames = load_frames(eyes / "frames.npz")
    sight = what_it_sees(load_encoder(eyes), frames.train, frames.test)
    return {"linear": sight.state, "products": dict(sight.products), "fit_seconds": read_json(eyes / "result.json")["seconds"]}


def curve(run: Path) -> tuple[list[int], list[float]]:
    """Steps and the mean return of the last five episodes."""
    with (run / "episodes.csv").open() as file:
        rows = [(int(row["step"]), float(row["return"])) for row in csv.DictReader(file)]
    smooth = [float(np.mean([value for _, value in rows[max(0, i - 4) : i + 1]])) for i in range(len(rows))]
    return [step for step, _ in rows], smooth


def draw(runs: list[tuple[dict[str, Any], Path]], out: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    named: set[str] = set()
    for row, path in runs:
        steps, returns = curve(path)
        arm = row["arm"]
        left.plot(steps, returns, color=COLOURS.get(arm, "#888888"), label=None if arm in named else arm, linewidth=1.5)
        named.add(arm)
        if row["sight"] is not None:
            worst = min(max(row["sight"]["products"][name], r2) for name, r2 in row["sight"]["linear"].items())
            right.plot(worst, row["return"], "o", color=COLOURS.get(arm, "#888888"), markersize=7)
            right.annotate(arm, (worst, row["return"]), xytext=(6, 4), textcoords="offset points", fontsize=8)
    left.set(xlabel="environment steps", ylabel="return, mean of 5 episodes", title="SAC behind a new background in every frame")
    left.legend(fontsize=8, frameon=False)
    right.set(
        xlabel="R² of what is seen worst, before any learning", ylabel="return of the trained policy", title="what an encoder sees decides"
    )
    right.margins(0.15)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=Path("runs/pixels_distractors"))
    given = parser.parse_args()
    found: list[tuple[dict[str, Any], Path]] = []
    for path in sorted((given.study / "cells").iterdir()):
        if not (path / "result.json").is_file() or read_json(path / "result.json")["status"] != "finished":
            continue
        config, result = read_json(path / "config.json"), read_json(path / "result.json")
        eyes = None if config["encoder"] is None else Path(str(config["encoder"]).replace("{seed}", str(config["seed"])))
        row = {"arm": arm_of(config), "seed": config["seed"], "return": result["evaluation_return"], "recoloured": recoloured(path, config)}
        found.append((row | {"learn_seconds": result["seconds"], "sight": None if eyes is None else seen(eyes)}, path))
        print(found[-1][0], flush=True)
    found.sort(key=lambda item: (item[0]["return"] * -1, item[0]["arm"]))
    write(RESULTS, {"study": given.study.name, "palettes": PALETTES, "episodes_a_palette": EPISODES, "runs": [row for row, _ in found]})
    draw(found, Path(__file__).parent / "results" / "encoders" / "distractors.png")
