"""Two hundred state-action pairs: behaviour cloning falls, GAIL with PPO runs. About a minute and a half on one idle core.

python demos/imitate.py [--steps 300000] [--seed 0] [--out runs/imitation] [--results demos/results]
"""

from __future__ import annotations

import argparse
import json
import os
from io import BytesIO
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from genrl.data import Demonstrations
from genrl.files import write_whole
from genrl.runs import ImitateConfig, RunDirectory, imitate

KEPT = ("env", "learner", "reward", "seed", "steps", "seconds", "evaluation_return", "evaluation_returns", "training_return")
DEMOS = Path(__file__).parent / "halfcheetah.hdf5"


def picture(run: RunDirectory, expert: float, cloned: float, path: Path) -> None:
    """Return of each episode against the expert's and the cloned policy's."""
    rows = run.read_episodes()
    steps, returns = (np.array([float(row[name]) for row in rows]) for name in ("step", "return"))
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, returns, ".", color="#1f5fa8", alpha=0.5, markersize=5, markeredgewidth=0, label="GAIL with PPO, episodes")
    axes.axhline(expert, color="#30343b", linewidth=1.4, label="expert")
    axes.axhline(cloned, color="#d9722e", linewidth=1.4, linestyle="--", label="behaviour cloning")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return of HalfCheetah-v5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9), frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=150)
    write_whole(path, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs") / "imitation")
    parser.add_argument("--results", type=Path, help="also write imitation.json and imitation.png there")
    arguments = parser.parse_args()
    print(Demonstrations.load(DEMOS).subsample(episodes=4, every=20))
    result = imitate(ImitateConfig(demos=DEMOS, episodes=4, every=20, steps=arguments.steps, seed=arguments.seed, out=arguments.out))
    if result["status"] != "finished":
        raise SystemExit(f"{result['status']}: {result['error'] or f'go on with genrl resume {arguments.out}'}")
    known = result["imitation"]
    table = Table("", "return", box=None)
    table.add_row("expert", f"{known['expert_return']:,.0f}")
    table.add_row("behaviour cloning", f"{known['cloned_return']:,.0f}")
    table.add_row(f"GAIL with PPO, {arguments.steps:,} steps, {result['seconds'] / 60:.1f} minutes", f"{result['evaluation_return']:,.0f}")
    Console().print(table)
    folder = arguments.results or arguments.out
    picture(RunDirectory(arguments.out), known["expert_return"], known["cloned_return"], folder / "imitation.png")
    if arguments.results is not None:
        about = json.loads((arguments.out / "config.json").read_text())["about"]
        made_by = {"command": "python demos/imitate.py", "seeds": 1, "versions": about["versions"], "machine": about["machine"]}
        document = made_by | known | {key: result[key] for key in KEPT}
        write_whole(folder / "imitation.json", (json.dumps(document, indent=1) + "\n").encode())
    print(f"picture: {folder / 'imitation.png'}")
    print(f"watch it: genrl watch {arguments.out}")


if __name__ == "__main__":
    main()
