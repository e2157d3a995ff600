"""State files: they come back exactly, whole or not at all, and nothing in them is code."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from genrl.files import load_state, save_state, write_whole


def round_trip(state: dict[Any, Any], path: Path) -> dict[Any, Any]:
    save_state(path, state)
    return load_state(path)


def test_nested_values_come_back_as_they_were(tmp_path: Path) -> None:
    state = {"a": 1, "b": [1.5, None, True, "text"], "c": {"d": {}, "e": []}, 3: {-1: "x", 0.5: "y", None: "z"}}
    assert round_trip(state, tmp_path / "state") == state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_tensors_come_back_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = (torch.randn(shape) * 10).to(dtype)
    loaded = round_trip({"x": [tensor, {"y": tensor.t() if tensor.ndim == 2 else tensor}]}, tmp_path / "state")["x"]
    assert loaded[0].dtype == dtype
    assert torch.equal(loaded[0], tensor)
    assert torch.equal(loaded[1]["y"], tensor.t() if tensor.ndim == 2 else tensor)


def test_a_network_its_optimiser_and_its_generator_go_on_as_if_never_stopped(tmp_path: Path) -> None:
    def make() -> tuple[nn.Linear, torch.optim.Adam, torch.Generator]:
        net = nn.Linear(3, 2)
        return net, torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.8, 0.9)), torch.Generator().manual_seed(1)

    def learn(net: nn.Linear, optimizer: torch.optim.Adam, generator: torch.Generator) -> None:
        for _ in range(5):
            optimizer.zero_grad()
            net(torch.randn(4, 3, generator=generator)).square().sum().backward()
            optimizer.step()

    (net, optimizer, generator), (net2, optimizer2, generator2) = make(), make()
    learn(net, optimizer, generator)
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "generator": generator.get_state()}
    loaded = round_trip(state, tmp_path / "state")
    assert set(loaded["optimizer"]["state"]) == {0, 1}  # integers, as Adam wants them
    net2.load_state_dict(loaded["net"])
    optimizer2.load_state_dict(loaded["optimizer"])
    generator2.set_state(loaded["generator"])
    learn(net, optimizer, generator)
    learn(net2, optimizer2, generator2)
    assert torch.equal(net.weight, net2.weight)
    assert torch.equal(optimizer.state[net.weight]["exp_avg_sq"], optimizer2.state[net2.weight]["exp_avg_sq"])


def test_tuples_come_back_as_lists_and_ordered_dicts_as_dicts(tmp_path: Path) -> None:
    assert round_trip({"t": (1, (2, 3)), "o": OrderedDict(a=1)}, tmp_path / "state") == {"t": [1, [2, 3]], "o": {"a": 1}}


def test_names_that_look_alike_stay_apart(tmp_path: Path) -> None:
    state = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2), "": torch.tensor(3)}, "": {"a": torch.tensor(4)}, "1": 5, 1: 6}
    loaded = round_trip(state, tmp_path / "state")
    assert (loaded["a/b"], loaded["a"]["b"], loaded["a"][""], loaded[""]["a"], loaded["1"], loaded[1]) == (1, 2, 3, 4, 5, 6)
    marked = {"__tensor__": "a", "x": {"__pairs__": [1, 2]}}
    assert round_trip(marked, tmp_path / "state") == marked


def test_tensors_that_share_memory_are_each_saved(tmp_path: Path) -> None:
    x = torch.arange(6.0)
    loaded = round_trip({"all": x, "view": x[2:4], "again": x}, tmp_path / "state")
    assert loaded["view"].tolist() == [2, 3]
    assert loaded["again"].tolist() == x.tolist()


@pytest.mark.parametrize("value", [object(), {1, 2}, np.zeros(3), b"bytes", np.float32(1), len])
def test_other_types_are_refused_by_name(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"state entry 'a/0' is a {type(value).__name__}"):
        save_state(tmp_path / "state", {"a": [value]})
    assert list(tmp_path.iterdir()) == []


def test_keys_that_json_would_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'a' has the key \(1, 2\)"):
        save_state(tmp_path / "state", {"a": {(1, 2): 3}})


def _file(path: Path, kind: str) -> None:
    save_state(path, {"x": torch.arange(100.0), "y": 1})
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[:-50])
    elif kind == "header only":
        path.write_bytes(content[:20])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"x": 1}))
    elif kind == "text":
        path.write_text("state")
    elif kind == "foreign":
        save_file({"x": torch.zeros(3)}, path)
    elif kind == "not json":
        save_file({"x": torch.zeros(3)}, path, metadata={"state": "half"})
    elif kind == "tensor missing":
        save_file({"x": torch.zeros(3)}, path, metadata={"state": json.dumps({"y": {"__tensor__": "y"}})})


@pytest.mark.parametrize("kind", ["truncated", "header only", "empty", "pickle", "text", "foreign", "not json", "tensor missing"])
def test_foreign_and_broken_files_are_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    _file(path, kind)
    with pytest.raises(ValueError) as refusal:
        load_state(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_no_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no state file"):
        load_state(tmp_path / name)


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path / "state", {"x": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path / "state", {"x": torch.zeros(10)})
    assert load_state(tmp_path / "state") == {"x": 1}
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208 (hidden files too)


def test_a_file_is_written_beside_its_place_and_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(handle: int) -> None:
        done.append("fsync")
        fsync(handle)

    def record_replace(self: Path, target: Path) -> Path:
        done.append("replace")
        assert self.parent == target.parent
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write_whole(tmp_path / "file", b"content")
    assert done == ["fsync", "replace"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_file_is_plain_safetensors_with_json_in_its_metadata(tmp_path: Path) -> None:
    save_state(tmp_path / "state", {"net": {"weight": torch.ones(2)}, "step": 3})
    with safe_open(tmp_path / "state", framework="pt") as file:
        assert list(file.keys()) == ["net/weight"]
        state = json.loads(file.metadata()["state"])
        assert len(state.pop("__crc32__")) == 8
        assert state == {"net": {"weight": {"__tensor__": "net/weight"}}, "step": 3}


def test_equal_states_make_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        save_state(tmp_path / name, {"x": torch.ones(3), "y": {"z": torch.zeros(2), 4: 1}})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
