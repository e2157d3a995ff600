"""The arrows between the parts of genrl, read from its imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sb3_contrib
import stable_baselines3

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "genrl").rglob("*.py"))
SHIPPED = [*FILES, *sorted((ROOT / "envs").rglob("*.py"))]

GROUND = {"arrays", "errors", "files", "generators", "lazy", "reading", "roles", "spaces", "transitions"}
SOCKETS = {"rewards", "encoders", "worlds", "policies"}
BENEATH: dict[str, set[str]] = dict.fromkeys(GROUND, GROUND) | {"models": GROUND, "data": GROUND | {"models"}}
BENEATH["sb3"] = BENEATH["data"] | {"data"}
BENEATH |= {socket: BENEATH["sb3"] | {"sb3"} for socket in SOCKETS}
BENEATH["runs"] = SOCKETS | BENEATH["rewards"]
BENEATH["generation"] = BENEATH["runs"] | {"runs"}
BENEATH["studies"] = BENEATH["runs"] | {"runs"}
BENEATH["cli"] = BENEATH["studies"] | {"generation", "studies"}
BENEATH["__main__"] = BENEATH["cli"] | {"cli"}

# Where Stable-Baselines3 is touched beyond its public interface; each line there says which file of it and why.
TOUCHES_SB3 = {
    "rewards/callback.py",
    "policies/noise.py",
    "policies/warmup.py",
    "sb3/predict.py",
    "sb3/batches.py",
    "sb3/hooks.py",
    "sb3/learner.py",
    "sb3/observations.py",
    "sb3/plugged.py",
    "sb3/replay.py",
    "sb3/running.py",
    "sb3/state.py",
}
INTERNAL_MODULES = ("buffers", "distributions", "running_mean_std", "save_util", "type_aliases", "utils")


def name(file: Path) -> str:
    return file.relative_to(ROOT / "genrl").as_posix()


def part(file: Path) -> str:
    return name(file).split("/")[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in it: ``from a.b import c`` is a.b.c."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["genrl", *file.relative_to(ROOT / "genrl").parts[: -node.level]] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def attributes(file: Path) -> Iterator[tuple[ast.expr, str]]:
    return ((node.value, node.attr) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute))


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_file_imports_itself_by_way_of_others() -> None:
    modules = {
        ".".join(("genrl", *file.relative_to(ROOT / "genrl").with_suffix("").parts)).removesuffix(".__init__"): file for file in FILES
    }
    beneath = {
        module: {found if found in modules else found.rpartition(".")[0] for found in imports(file)} & modules.keys() - {module}
        for module, file in modules.items()
    }
    while free := [module for module, others in beneath.items() if not others]:
        beneath = {module: others - set(free) for module, others in beneath.items() if module not in free}
    assert not beneath, f"these files are in a circle of imports, or stand on one: {sorted(beneath)}"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_follow_the_arrows(file: Path) -> None:
    if part(file) == "__init__":
        return
    for imported in imports(file):
        if not imported.startswith("genrl."):
            continue
        other = imported.split(".")[1]
        if part(file) == "worlds" and imported in {"genrl.rewards.RewardModel", "genrl.rewards.base.RewardModel"}:
            continue  # the one exception: a world may be given a reward
        assert other in BENEATH[part(file)] | {part(file), "__version__"}, f"{name(file)} imports {imported}"


@pytest.mark.parametrize("file", [file for file in FILES if part(file) in {"files", "errors", "transitions", "models", "data"}], ids=name)
def test_models_know_no_environments_and_no_learners(file: Path) -> None:
    assert not {imported.split(".")[0] for imported in imports(file)} & {"gymnasium", "stable_baselines3", "sb3_contrib", "sbx", "mujoco"}


def private_names() -> set[str]:
    folders = [Path(str(module.__file__)).parent for module in (stable_baselines3, sb3_contrib)]
    sources = [file.read_text() for folder in folders for file in folder.rglob("*.py")]
    return {found for source in sources for found in re.findall(r"self\.(_[a-z]\w*)", source)}


@pytest.mark.parametrize("file", [file for file in FILES if name(file) not in TOUCHES_SB3], ids=name)
def test_internals_of_sb3_are_touched_in_named_files_only(file: Path) -> None:
    internal = tuple(f"{library}.common.{module}" for library in ("stable_baselines3", "sb3_contrib") for module in INTERNAL_MODULES)
    assert not [imported for imported in imports(file) if imported.startswith(internal)]
    own = {attribute for value, attribute in attributes(file) if isinstance(value, ast.Name) and value.id in {"self", "cls"}}
    modules = {imported.split(".")[-1] for imported in imports(file) if imported.startswith("genrl.")}
    reached = {
        attribute
        for value, attribute in attributes(file)
        if attribute in PRIVATE - own and not (isinstance(value, ast.Name) and value.id in {"self", "cls"} | modules)
    }
    assert not reached, f"{name(file)} reaches for {reached}"


PRIVATE = private_names()


def test_the_files_that_touch_sb3_exist_and_say_why() -> None:
    for file in TOUCHES_SB3:
        assert re.search(r"#.*\b\w+\.py", (ROOT / "genrl" / file).read_text()), f"{file} cites no file of Stable-Baselines3"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_learner_is_subclassed(file: Path) -> None:
    learners = {*stable_baselines3.__all__, *sb3_contrib.__all__} - {"HerReplayBuffer", "get_system_info"}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef):
            assert not {base.id for base in node.bases if isinstance(base, ast.Name)} & learners


def test_importing_genrl_registers_the_tasks_and_loads_neither_torch_nor_mujoco() -> None:
    code = (
        "import sys, genrl, gymnasium; "
        "print(sorted({'torch', 'mujoco', 'stable_baselines3', 'matplotlib', 'scipy'} & set(sys.modules))); "
        "print('genrl/SparseMountainCar-v0' in gymnasium.registry)"
    )
    assert python(code).split("\n")[:2] == ["[]", "True"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_file_that_is_read_can_run_code(file: Path) -> None:
    tree = ast.parse(file.read_text())
    modules = {
        module.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert not modules & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert called not in {"eval", "exec", "compile", "__import__", "os.system"}
        assert called != "torch.load" or keywords.get("weights_only") == "True"
        assert called.split(".")[-1] != "load" or keywords.get("allow_pickle") != "True"


def test_no_class_name_is_defined_twice() -> None:
    """One name, one thing; what begins with an underscore is its file's own."""
    places: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name(file))
    assert not {found: files for found, files in places.items() if len(files) > 1}


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_module_with_an_underscore_is_its_folder_s_own(file: Path) -> None:
    for imported in imports(file):
        *folder, module = next((imported.split(".")[: i + 1] for i, word in enumerate(imported.split(".")) if is_private(word)), [""])
        if module and folder[:1] == ["genrl"] and (ROOT / "/".join([*folder, f"{module}.py"])).is_file():
            assert file.parent == ROOT / "/".join(folder), f"{name(file)} imports {imported}"


def is_private(word: str) -> bool:
    return word.startswith("_") and not word.startswith("__")


LONGEST_BODY = 50
"""Lines, without the docstring; a signature of many keywords, one a line, is a configuration."""


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_function_fits_a_screen(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_BODY, f"{node.name} in {name(file)} has {lines} lines"
