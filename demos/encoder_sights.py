"""What a finished study of encoders saw: `python demos/encoder_sights.py runs/pixels_distractors`, after `demos/encoders.py study`.

For each run the probes of its encoder, its return, its learning curve, and the return of the same policy where the colours are others; a
minute for ten runs. Draws what each encoder sees and the curves against minutes, by the seconds that `demos/encoders.py cost` has measured,
or against steps. The file keeps the curves, so the picture can be drawn again without the runs.
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
from measured import read, write

import genrl
from genrl.encoders import EncodedEnv, StackedFrames, load_encoder, what_it_sees
from genrl.generation.frames import record_frames
from genrl.reading import read_json

HISTORY, STARTS = 3, 1_000
"""Frames of an observation, and the step at which the studies' SAC begins to learn."""
PALETTES, EPISODES, SEED = (1, 2, 3), 5, 10_000
COLOURS = {"jepa": "#2c7fb8", "vae": "#d95f0e", "pca": "#7a7a7a", "random": "#b0b0b0", "state": "#222222", "mae": "#31a354"}
COLOURS |= {"mae16": "#31a354", "vq-vae": "#756bb1", "finetuned": "#e7298a", "end-to-end": "#a6761d"}


def arm_of(config: Mapping[str, Any]) -> str:
    """What a run looks through."""
    if config["encoder"] is None:
        return "state" if config["env_kwargs"].get("observe") == "state" else "end-to-end"
    return "finetuned" if config["finetune"] else str(config["encoder"]).rpartition("/")[2].removesuffix("-{seed}")


def recoloured(run: Path, config: Mapping[str, Any]) -> float | None:
    """Mean return of the policy over other palettes; ``None`` of one that sees no picture."""
    if arm_of(config) == "state":
        return None
    loaded = genrl.load(run)
    returns = []
    for palette in PALETTES:
        env: Any = gymnasium.make(config["env"], **config["env_kwargs"], colours=palette)
        whole = config["finetune"] or config["encoder"] is None
        env = StackedFrames(env, HISTORY) if whole else EncodedEnv(env, loaded.encoder, HISTORY)
        for episode in range(EPISODES):
            obs, _ = env.reset(seed=SEED + episode)
            total, done = 0.0, False
            while not done:
                obs, reward, terminated, truncated, _ = env.step(loaded.predict(obs)[0])
                total, done = total + float(reward), terminated or truncated
            returns.append(total)
    return float(np.mean(returns))


def seen(run: Path, config: Mapping[str, Any], frames: int) -> dict[str, Any]:
    """The probes of the encoder that a run has kept, on the frames that it was fitted to, which are recorded again."""
    recorded = record_frames(config["env"], frames, env_kwargs=config["env_kwargs"], seed=config["seed"], size=0)
    sight = what_it_sees(load_encoder(run), recorded.train, recorded.test)
    return {"linear": sight.state, "products": dict(sight.products)}


def curve(run: Path) -> tuple[list[int], list[float]]:
    """Steps and the mean return of the last five episodes."""
    with (run / "episodes.csv").open() as file:
        rows = [(int(row["step"]), float(row["return"])) for row in csv.DictReader(file)]
    smooth = [float(np.mean([value for _, value in rows[max(0, i - 4) : i + 1]])) for i in range(len(rows))]
    return [step for step, _ in rows], smooth


def minutes_of(arm: str, steps: list[int], cost: Mapping[str, Any]) -> list[float]:
    """Minutes of processor time until each step, the fit of the encoder first; steps before learning starts cost next to nothing."""
    fitted = [
        seconds for name, seconds in cost["fit_seconds"].items() if name.rpartition("-")[0] == ("jepa" if arm == "finetuned" else arm)
    ]
    if arm not in cost["step_seconds"]:
        raise SystemExit(f"the cost of {arm} is not known; measure it with: python demos/encoders.py cost runs/eyes/pendulum")
    each = cost["step_seconds"][arm]
    return [(float(np.median(fitted or [0.0])) + max(0, step - STARTS) * each) / 60 for step in steps]


def draw_curves(axes: Any, rows: list[dict[str, Any]], title: str, against: str) -> None:
    """Learning curves of the runs whose episodes are known."""
    named: set[str] = set()
    cost = {"fit_seconds": {}, "step_seconds": {}} | read("encoders/cost")
    for row in rows:
        if "curve" in row:
            steps, returns = row["curve"]
            words = None if row["arm"] in named else row["arm"]
            x = steps if against == "steps" else minutes_of(row["arm"], steps, cost)
            axes.plot(x, returns, color=COLOURS.get(row["arm"], "#888888"), label=words, linewidth=1.5)
            named.add(row["arm"])
    words = "environment steps" if against == "steps" else "minutes of processor time, fit and frames counted"
    axes.set(xlabel=words, ylabel="return, mean of 5 episodes", title=title)


def draw_seen(axes: Any, rows: list[dict[str, Any]]) -> None:
    """The return of each run against what its encoder sees worst; an encoder is named at its best run."""
    named: set[str] = set()
    for row in rows:
        if row["sight"] is not None:
            worst = min(max(row["sight"]["products"][name], r2) for name, r2 in row["sight"]["linear"].items())
            axes.plot(worst, row["return"], "o", color=COLOURS.get(row["arm"], "#888888"), markersize=7)
            if row["arm"] not in named:
                axes.annotate(row["arm"], (worst, row["return"]), xytext=(-7, 4), textcoords="offset points", ha="right", fontsize=8)
            named.add(row["arm"])
    axes.set(xlabel="R² of what is seen worst, before any learning", ylabel="return of the trained policy")
    axes.set_title("what an encoder sees decides")
    axes.margins(0.15)


def draw(rows: list[dict[str, Any]], title: str, against: str, curves_alone: bool, out: Path) -> None:
    """Curves and, but for ``curves_alone``, the return of each run against what is seen worst."""
    figure, panels = pyplot.subplots(1, 1 if curves_alone else 2, figsize=(9, 3.8), layout="constrained", squeeze=False)
    draw_curves(panels[0, 0], rows, title, against)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=9, fontsize=8, frameon=False)
    if not curves_alone:
        draw_seen(panels[0, 1], rows)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def looked_at(path: Path, frames: int) -> dict[str, Any] | None:
    """What a finished run saw and reached; ``None`` of a run that has no policy here, because its row is of an earlier file."""
    if not (path / "result.json").is_file() or not (path / "model.zip").is_file():
        return None
    config, result = read_json(path / "config.json"), read_json(path / "result.json")
    if result["status"] != "finished":
        return None
    looks = config["encoder"] is not None and not config["finetune"]  # what is finetuned no longer is what was fitted
    row = {"arm": arm_of(config), "seed": config["seed"], "return": result["evaluation_return"], "recoloured": recoloured(path, config)}
    steps, returns = curve(path)
    kept = {"sight": seen(path, config, frames) if looks else None, "curve": [steps, [round(value, 1) for value in returns]]}
    return row | {"learn_seconds": result["seconds"]} | kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=Path("runs/pixels_distractors"))
    parser.add_argument("--name", default="distractors", help="name of the files in demos/results/encoders; rows that they have stay")
    parser.add_argument("--title", default="SAC behind a new background in every frame")
    parser.add_argument("--frames", type=int, default=3_000, help="frames that each encoder was fitted to")
    parser.add_argument("--against", choices=("minutes", "steps"), default="minutes", help="what the curves stand over")
    parser.add_argument("--curves-alone", action="store_true", help="leave the panel out that has returns against probes")
    given = parser.parse_args()
    known = {(row["arm"], row["seed"]): row for row in read(f"encoders/{given.name}").get("runs", [])}
    for path in sorted((given.study / "cells").glob("*")):
        if row := looked_at(path, given.frames):
            known[row["arm"], row["seed"]] = row
            print({name: value for name, value in row.items() if name != "curve"}, flush=True)
    rows = sorted(known.values(), key=lambda row: (-row["return"], row["arm"]))
    write(f"encoders/{given.name}", {"study": given.study.name, "palettes": PALETTES, "episodes_a_palette": EPISODES, "runs": rows})
    draw(rows, given.title, given.against, given.curves_alone, Path(__file__).parent / "results" / "encoders" / f"{given.name}.png")


if __name__ == "__main__":
    main()
