"""`genrl list`, and what a shell completes."""

import os
import subprocess
import sys

import pytest

from genrl.cli import COMMANDS, main
from genrl.roles import MODELS


def test_the_encoders_are_the_models_that_encode(capsys):
    assert main(["list", "encoders"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]}
    able = {part.name for part in MODELS.parts if hasattr(MODELS.load(part.name), "encode")} - {"conditional-gan"}  # which needs the class
    assert listed == able and {"vae", "jepa", "pca"} <= able


def test_all_lists_every_kind(capsys):
    assert main(["list"]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["tasks:", "learners:", "rewards:", "worlds:", "models:", "encoders:"]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("genrl ", list(COMMANDS)),
        ("genrl re", ["record", "report", "resume"]),
        ("genrl explore --learner tr", ["trpo"]),
        ("genrl explore --eval-e", ["--eval-every", "--eval-episodes"]),
        ("genrl generate --model vq", ["vq-vae"]),
        ("genrl explore --env genrl/SparseM", ["genrl/SparseMountainCar-v0"]),
        ("genrl list enc", ["encoders"]),
        ("genrl watch runs/", []),
    ],
)
def test_a_line_is_completed(line, some, capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line + " behind the cursor")
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert main(["--complete", "genrl", line.split(" ")[-1], "genrl"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(some)


def test_every_command_completes_its_flags(capsys, monkeypatch):
    for command in COMMANDS:
        monkeypatch.setenv("COMP_LINE", f"genrl {command} --")
        monkeypatch.delenv("COMP_POINT", raising=False)
        assert main(["--complete"]) == 0
        assert all(word.startswith("--") for word in capsys.readouterr().out.split()) or command == "list"


def test_completion_imports_no_torch():
    code = "import sys; from genrl.cli import main; main(['--complete']); assert not {'torch', 'tyro'} & set(sys.modules)"
    environment = {**os.environ, "COMP_LINE": "genrl explore --learner p"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ppo"]
