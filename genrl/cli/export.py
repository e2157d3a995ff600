"""`genrl export RUN`: the policy of a run for use without genrl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import parse
from genrl.errors import RunError

__all__ = ["main"]


@dataclass(frozen=True)
class ExportFlags:
    """Write the trained policy of a run in a form that needs no genrl."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    sb3: Path | None = None
    """New folder for model.zip and, where observations are normalised, vecnormalize.pkl: what Stable-Baselines3 alone can load. Its formats
    hold pickles."""
    torchscript: Path | None = None
    """File for the deterministic policy as TorchScript, normalisation included: what torch alone can load."""
    onnx: Path | None = None
    """File for the same as ONNX: what onnxruntime can load. It is checked with onnxruntime before it is written."""
    best: bool = False
    """Write the policy of the best evaluation, of a run with --eval-every, instead of the last one."""
    average: bool = False
    """Write the mean of the last policies, of an imitation with --average, instead of the last one."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, load, write, and name what was written."""
    options = parse(ExportFlags, argv, "genrl export")
    if options.sb3 is None and options.torchscript is None and options.onnx is None:
        raise RunError("genrl export needs to know what to write: --sb3 DIR, --torchscript FILE or --onnx FILE")
    from genrl.files import check_new
    from genrl.runs.uses.export import export_onnx, export_sb3, export_torchscript
    from genrl.runs.uses.load import LoadedRun, load

    for flag, file in (("--torchscript", options.torchscript), ("--onnx", options.onnx)):
        if file is not None:
            check_new(file, flag)  # all of them before the first is written
    run = load(options.run, options.imports, options.best, options.average)
    if not isinstance(run, LoadedRun):
        use = f"in Python, genrl.load({str(options.run)!r}) is its model, a torch module"
        raise RunError(f"{options.run} is the run of a generative model, which has no policy to export; {use}")
    if options.sb3 is not None:
        for path in export_sb3(run, options.sb3):
            print(path)
    if options.torchscript is not None:
        print(export_torchscript(run, options.torchscript))
    if options.onnx is not None:
        print(export_onnx(run, options.onnx))
    return 0
