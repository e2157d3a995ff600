"""Files as somebody would make them who means harm, or as a fault leaves them: each is one case for one reader."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from genrl.files import load_state, save_state
from genrl.models import VAE
from genrl.models.base import save_model
from genrl.runs import ExploreConfig, explore
from tests.data.walks import walks
from tests.studies.synthetic import make_study

EVERY = 64
"""Bytes between two cuts of a file."""
FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")
HUGE = 2**32


@dataclass(frozen=True)
class Case:
    """One hostile input."""

    name: str
    reader: str
    """Which of the readers of ``test_hostile`` is given it."""
    make: Callable[[Path], Path]
    """Makes it in an empty folder; returns what the reader is given."""


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Corpus:
    """All cases, made from one whole file of each format.

    Args:
        folder: where the whole files are made.
        canary: a file that exists when code of a case has run.
        outside: a folder that no case may write into.
    """

    def __init__(self, folder: Path, canary: Path, outside: Path) -> None:
        self.folder, self.canary, self.outside = folder, canary, outside
        self.code = f"from pathlib import Path\nPath({str(canary)!r}).touch()\n"
        self.run, self.study = folder / "run", folder / "study"
        self._make_whole_files()

    def _make_whole_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        walks().save(self.folder / "walks.npz")
        walks().save(self.folder / "walks.hdf5")
        pixels = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
        np.savez_compressed(self.folder / "images.npz", images=pixels)
        Image.fromarray(pixels[0]).resize((32, 32)).save(self.folder / "one.png")
        for suffix in ("jpg", "gif", "bmp", "webp"):
            Image.fromarray(pixels[0]).resize((32, 32)).save(self.folder / f"one.{suffix}")
        save_model(self.folder / "model.safetensors", VAE((1, 8, 8), latent=2, hidden=(4,)))
        ppo = {"n_steps": 64, "batch_size": 32, "n_epochs": 1, "net_arch": [4]}
        config = ExploreConfig(env="Pendulum-v1", learner="ppo", reward="none", steps=64, learner_kwargs=ppo, eval_episodes=0, out=self.run)
        explore(config, quiet=True)
        make_study(self.study, ("car",), ("none", "vime"), 2, episodes=10)

    def __iter__(self) -> Iterator[Case]:
        yield from self.truncated()
        yield from self.special_files()
        yield from self.demonstrations()
        yield from self.images()
        yield from self.states()
        yield from self.configurations()
        yield from self.studies()

    # --- cut at every 64th byte, or changed in the middle ---

    def truncated(self) -> Iterator[Case]:
        readers = {"walks.npz": "demos", "walks.hdf5": "demos", "images.npz": "images", "model.safetensors": "model"}
        for name, reader in readers.items():
            yield from self._cuts(self.folder / name, reader, lambda folder, content, name=name: _write(folder / name, content))
        for suffix in ("png", "jpg", "gif", "bmp", "webp"):
            file = self.folder / f"one.{suffix}"
            yield from self._cuts(file, "images", lambda folder, content, file=file: _write(folder / "images" / file.name, content).parent)
        idx = gzip.compress(_idx(np.arange(2000) % 251))
        yield from self._cuts("idx.gz", "mnist", self._mnist, idx)
        for name in ("config.json", "model.zip", "checkpoint.safetensors"):
            reader = "resume" if name.startswith("checkpoint") else "watch"
            yield from self._cuts(self.run / name, reader, lambda folder, content, name=name: self._run(folder, name, content))
        cell = next((self.study / "cells").iterdir())
        files = ("study.json", "study.toml", *(str((cell / name).relative_to(self.study)) for name in ("result.json", "coverage.npz")))
        for name in (*files, str((cell / "episodes.csv").relative_to(self.study))):
            yield from self._cuts(self.study / name, "report", lambda folder, content, name=name: self._study(folder, name, content))

    def _cuts(self, file: Path | str, reader: str, put: Callable[[Path, bytes], Path], content: bytes | None = None) -> Iterator[Case]:
        whole = Path(file).read_bytes() if content is None else content
        for end in range(0, len(whole), EVERY):
            yield Case(f"{Path(file).name}-cut-{end}", reader, lambda folder, part=whole[:end]: put(folder, part))
        for place in range(EVERY // 3, len(whole), 2 * EVERY):  # and a byte, or eight, are something else
            for name, other in (("changed", bytes([whole[place] ^ 0xFF])), ("filled", b"\xff" * 8)):
                changed = (whole[:place] + other + whole[place + len(other) :])[: len(whole)]
                yield Case(f"{Path(file).name}-{name}-{place}", reader, lambda folder, changed=changed: put(folder, changed))

    # --- what is no regular file ---

    def special_files(self) -> Iterator[Case]:
        kinds: dict[str, Callable[[Path], Any]] = {
            "fifo": os.mkfifo,
            "socket": _socket,
            "folder": Path.mkdir,
            "zero": lambda path: path.symlink_to("/dev/zero"),
            "terminal": lambda path: path.symlink_to("/dev/tty"),
            "loop": lambda path: path.symlink_to(path.name),
            "dangling": lambda path: path.symlink_to("nowhere"),
            "holes": lambda path: (path.touch(), os.truncate(path, 2**40)),
            "gigabyte": lambda path: (path.touch(), os.truncate(path, 2**30)),
            "empty": Path.touch,
            "pickle": lambda path: path.write_bytes(pickle.dumps(Canary(self.canary))),
            "python": lambda path: path.write_text(self.code),
        }
        places = {"walks.npz": "demos", "walks.hdf5": "demos", "images.npz": "images", "x.safetensors": "state", "y.safetensors": "model"}
        for kind, make in kinds.items():
            for name, reader in places.items():
                yield Case(f"{name}-{kind}", reader, lambda folder, make=make, name=name: _made(folder / name, make))
            yield Case(f"png-{kind}", "images", lambda folder, make=make: _made(folder / "images" / "a.png", make).parent)
            yield Case(f"idx-{kind}", "mnist", lambda folder, make=make: self._mnist(folder, make=make))
            for name in ("config.json", "model.zip"):
                yield Case(f"{name}-{kind}", "watch", lambda folder, make=make, name=name: self._run(folder, name, make=make))
            for name in ("checkpoint.safetensors", "progress.csv", "episodes.csv", "result.json"):
                yield Case(f"{name}-{kind}", "resume", lambda folder, make=make, name=name: self._run(folder, name, make=make))
            for name in ("study.json", "study.toml"):
                yield Case(f"{name}-{kind}", "report", lambda folder, make=make, name=name: self._study(folder, name, make=make))

    # --- demonstrations ---

    def demonstrations(self) -> Iterator[Case]:
        def hdf5(name: str, change: Callable[[h5py.File], Any]) -> Case:
            def make(folder: Path) -> Path:
                shutil.copy(self.folder / "walks.hdf5", folder / "walks.hdf5")
                with h5py.File(folder / "walks.hdf5", "a") as file:
                    change(file)
                return folder / "walks.hdf5"

            return Case(f"hdf5-{name}", "demos", make)

        def replaced(**keywords: Any) -> Callable[[h5py.File], Any]:
            def change(file: h5py.File) -> None:
                del file["episode_0/observations"]
                file.create_dataset("episode_0/observations", **keywords)

            return change

        def link(to: Any) -> Callable[[h5py.File], Any]:
            def change(file: h5py.File) -> None:
                del file["episode_0"]
                file["episode_0"] = to

            return change

        yield hdf5("gigabytes", replaced(shape=(HUGE, 2), dtype="f8", chunks=(2**16, 2)))
        yield hdf5("gigabytes-packed", replaced(shape=(HUGE, 2), dtype="f8", chunks=(2**16, 2), compression="gzip"))
        yield hdf5("a-huge-chunk", replaced(shape=(5, 2), maxshape=(None, 2), dtype="f8", chunks=(2**27, 2)))
        yield hdf5("many-chunks", replaced(shape=(2**22, 2), dtype="f8", chunks=(1, 1)))
        yield hdf5("strings", replaced(shape=(6,), dtype=h5py.string_dtype()))
        yield hdf5("long-strings", replaced(shape=(2**20,), dtype="S100000"))
        yield hdf5("references", replaced(shape=(6,), dtype=h5py.ref_dtype))
        yield hdf5("no-rows", replaced(shape=(0, 2), dtype="f8"))
        yield hdf5("single-number", replaced(shape=(), dtype="f8"))
        yield hdf5("complex", replaced(shape=(6, 2), dtype="c16"))
        yield hdf5("compound", replaced(shape=(6,), dtype=[("a", "f8"), ("b", "i4")]))
        yield hdf5("raw-file", replaced(shape=(6, 2), dtype="f8", external=[("/etc/passwd", 0, 96)]))
        yield hdf5("external-link", link(h5py.ExternalLink("/etc/passwd", "/")))
        yield hdf5("external-fifo", lambda file: (os.mkfifo(Path(file.filename).with_name("f")), link(h5py.ExternalLink("f", "/"))(file)))
        yield hdf5("soft-link", link(h5py.SoftLink("/episode_0")))
        yield hdf5("many-links", lambda file: [file.__setitem__(f"episode_{k}", file["episode_0"]) for k in range(3, 30_000)])
        yield hdf5("attributes", lambda file: file["episode_0"].attrs.update({"seed": "x" * 60_000, "id": [1, 2]}))
        yield hdf5("a-name", lambda file: file.attrs.update({"env_spec": json.dumps({"id": "evil:X-v0", "kwargs": {"env_id": "evil:Y"}})}))
        yield hdf5("deep", lambda file: file.attrs.update({"env_spec": "[" * 30_000}))
        yield hdf5("nested", lambda file: (file.__delitem__("episode_0"), file.create_group("/".join(["episode_0", *"a" * 500]))))
        for name, content in self._npz_bombs("observations").items():
            yield Case(f"npz-{name}", "demos", lambda folder, content=content: content(folder / "walks.npz"))
        for name, text in {"list": "[1]", "deep": "[" * 100_000, "number": "1" * 100_000, "gigabyte": "", "null": "null"}.items():
            yield Case(f"metadata-{name}", "demos", lambda folder, text=text: self._metadata(folder, text))

    def _metadata(self, folder: Path, text: str) -> Path:
        with h5py.File(folder / "walks.hdf5", "w") as file, h5py.File(self.folder / "walks.hdf5") as whole:
            whole.copy("episode_0", file)
        (folder / "metadata.json").write_text(text)
        if not text:
            os.truncate(folder / "metadata.json", 2**30)
        return folder / "walks.hdf5"

    def _npz_bombs(self, name: str) -> dict[str, Callable[[Path], Path]]:
        """Ways to break an npz that has ``name``."""
        zeros = _npy((HUGE,)) + b"\0"
        return {
            "bomb": lambda path: _zip(path, {f"{name}.npy": _npy((HUGE,))}, zeros=HUGE),
            "shape": lambda path: _zip(path, {f"{field}.npy": _npy((10**12, 3)) for field in (name, *FIELDS, "genrl")}),
            "negative": lambda path: _zip(path, {f"{field}.npy": _npy((-3,)) for field in (name, *FIELDS, "genrl")}),
            "short": lambda path: _zip(path, {f"{field}.npy": zeros for field in (name, *FIELDS, "genrl")}),
            "header": lambda path: _zip(path, {f"{name}.npy": _npy_header("(" * 5000)}),
            "long-header": lambda path: _zip(path, {f"{name}.npy": _npy_header(" " * 60_000)}),
            "code-header": lambda path: _zip(path, {f"{name}.npy": _npy_header(f"open({str(self.canary)!r}, 'w')")}),
            "no-npy": lambda path: _zip(path, {f"{name}.npy": b"hello"}),
            "climbing": lambda path: _zip(path, {"../../outside/x.npy": _npy((3,)), "/tmp/x.npy": _npy((3,))}),
            "empty-zip": lambda path: _zip(path, {}),
            "lzma": lambda path: _zip(path, {f"{name}.npy": _npy((3,)) + b"\0" * 3}, method=zipfile.ZIP_LZMA),
            "many": lambda path: _zip(path, {f"{k}.npy": b"" for k in range(30_000)}),
            "pickled": lambda path: _npz(path, {field: np.array([Canary(self.canary)]) for field in (name, *FIELDS, "genrl")}),
        }

    # --- images ---

    def images(self) -> Iterator[Case]:
        for name, content in self._npz_bombs("images").items():
            yield Case(f"images-npz-{name}", "images", lambda folder, content=content: content(folder / "images.npz"))
        pictures = {
            "png-bomb": _png(60_000, 60_000),
            "png-wide": _png(2**30, 1),
            "png-of-5000": _png(5000, 5000),
            "ppm-bomb": b"P6 100000 100000 255\n",
            "bmp-bomb": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0),
            "gif-bomb": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
            "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(" + str(self.canary).encode() + b") (w) file closefile\n",
            "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
            "tiff": b"II*\0\xff\xff\xff\x7f",
        }
        for name, content in pictures.items():
            yield Case(name, "images", lambda folder, content=content: _write(folder / "images" / "a.png", content).parent)
        idx = {
            "bomb": gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 2**20, 64, 64))[:-8] + b"\0" * 8,
            "bomb-of-zeros": _gzip_zeros(b"\0\0\x08\x03" + struct.pack(">III", 2**20, 64, 64), HUGE),
            "overflow": gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12),
            "axes": gzip.compress(b"\0\0\x08\xff" + b"\0\0\0\2" * 255),
            "no-axes": gzip.compress(b"\0\0\x08\0\1"),
            "doubles": gzip.compress(b"\0\0\x0e\x01\0\0\0\1" + b"\0" * 8),
            "zeros": _gzip_zeros(b"", HUGE),
        }
        for name, content in idx.items():
            yield Case(f"idx-{name}", "mnist", lambda folder, content=content: self._mnist(folder, content))

    def _mnist(self, folder: Path, content: bytes = b"", make: Callable[[Path], Any] | None = None) -> Path:
        root = folder / "mnist"
        root.mkdir()
        for part in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            (root / f"{part}-ubyte.gz").write_bytes(gzip.compress(_idx(np.arange(3))))
        _made(root / "train-images-idx3-ubyte.gz", make or (lambda path: path.write_bytes(content)))
        return folder

    # --- states, models, checkpoints ---

    def states(self) -> Iterator[Case]:
        headers = {
            "long-header": struct.pack("<Q", 2**40) + b"{}",
            "full-header": struct.pack("<Q", 90 * 2**20) + b"[" * (90 * 2**20),
            "overlap": _safetensors({"a": [0, 8], "b": [0, 8]}, b"\0" * 8),
            "beyond": _safetensors({"a": [0, 2**40]}, b"\0" * 8),
            "no-state": _safetensors({"a": [0, 8]}, b"\0" * 8),
        }
        states = {
            "deep": "[" * 10_000 + "]" * 10_000,
            "no-json": "{",
            "list": "[1, 2]",
            "number": "3",
            "null": "null",
            "no-tensor": '{"a": {"__tensor__": "b"}}',
            "odd-tensor": '{"a": {"__tensor__": ["b"]}}',
            "odd-pairs": '{"__pairs__": 3}',
            "pairs": '{"__pairs__": [[[1], 2]]}',
            "long-number": '{"a": ' + "9" * 10_000 + "}",
        }
        for reader in ("state", "model", "encoder"):
            for name, content in headers.items():
                yield Case(f"{reader}-{name}", reader, lambda folder, content=content: _write(folder / "x.safetensors", content))
            for name, text in states.items():
                yield Case(f"{reader}-{name}", reader, lambda folder, text=text: _state(folder / "x.safetensors", text))
        models: dict[str, dict[str, Any]] = {
            "code": {"model": "os:system", "settings": {"command": f"touch {self.canary}"}, "weights": {}},
            "path": {"model": "../evil", "settings": {}, "weights": {}},
            "odd-name": {"model": ["VAE"], "settings": {}, "weights": {}},
            "odd-settings": {"model": "VAE", "settings": [1], "weights": {}},
            "no-settings": {"model": "VAE", "settings": {}, "weights": {}},
            "huge": {"model": "VAE", "settings": {"image_shape": [1, 8, 8], "hidden": [10**6, 10**6], "latent": 2}, "weights": {}},
            "large": {"model": "VAE", "settings": {"image_shape": [1, 8, 8], "hidden": [30_000, 30_000], "latent": 2}, "weights": {}},
            "wide": {"model": "VAE", "settings": {"image_shape": [1, 10**5, 10**5], "hidden": [8], "latent": 2}, "weights": {}},
            "odd-weights": {"model": "VAE", "settings": {"image_shape": [1, 8, 8]}, "weights": 3},
            "no-weights": {"model": "VAE", "settings": {"image_shape": [1, 8, 8]}, "weights": {"a": torch.zeros(3)}},
        }
        for name, state in models.items():
            yield Case(f"model-{name}", "model", lambda folder, state=state: _saved(folder / "x.safetensors", state))
        yield from self._checkpoints()

    def _checkpoints(self) -> Iterator[Case]:
        whole = load_state(self.run / "checkpoint.safetensors")
        for key in whole:
            for name, value in {"none": None, "list": [], "number": 3, "tensor": torch.zeros(2)}.items():
                changed = whole | {key: value}
                yield Case(f"checkpoint-{key}-{name}", "resume", lambda folder, changed=changed: self._checkpoint(folder, changed))
            changed = {other: value for other, value in whole.items() if other != key}
            yield Case(f"checkpoint-without-{key}", "resume", lambda folder, changed=changed: self._checkpoint(folder, changed))
        for key in whole["learner"]:
            changed = whole | {"learner": {other: value for other, value in whole["learner"].items() if other != key}}
            yield Case(f"checkpoint-learner-without-{key}", "resume", lambda folder, changed=changed: self._checkpoint(folder, changed))

    def _checkpoint(self, folder: Path, state: dict[str, Any]) -> Path:
        run = self._run(folder, "result.json", make=lambda path: None)
        config = json.loads((run / "config.json").read_text()) | {"steps": 128}
        (run / "config.json").write_text(json.dumps(config))
        save_state(run / "checkpoint.safetensors", state)
        return run

    # --- configurations of runs ---

    def configurations(self) -> Iterator[Case]:
        whole = json.loads((self.run / "config.json").read_text())
        texts = {
            "list": "[1]",
            "deep": '{"a":' * 10_000,
            "deep-kwargs": json.dumps(whole | {"env_kwargs": {"a": _nested(60)}}),
            "deeper-kwargs": json.dumps(whole | {"env_kwargs": {"a": _nested(900)}}),
            "null": "null",
            "many": "[" + "[]," * 2_500_000 + "[]]",
            "number": "1" * 5000,
            "bytes": "\ud800",
        }
        for name, text in texts.items():
            content = text.encode(errors="surrogatepass")
            yield Case(f"config-{name}", "watch", lambda folder, content=content: self._run(folder, "config.json", content))
        for key in whole:
            odd = {"list": [1], "table": {"a": 1}, "text": "x", "number": -1, "large": 10**30, "nan": float("nan"), "null": None}
            for name, value in odd.items():
                content = json.dumps(whole | {key: value}).encode()
                yield Case(f"config-{key}-{name}", "config", lambda folder, content=content: self._run(folder, "config.json", content))
        code: dict[str, dict[str, Any]] = {
            "env": {"env": "evil:X-v0"},
            "learner": {"learner": "evil:X"},
            "reward": {"reward": "evil:X"},
            "reward-os": {"reward": "os:system"},
            "compatibility": {"env": "GymV26Environment-v0", "env_kwargs": {"env_id": "evil:X-v0"}},
            "kwargs": {"env_kwargs": {"any": "evil:X-v0"}},
            "xml": {"env": "HalfCheetah-v5", "env_kwargs": {"xml_file": "/dev/zero"}},
            "out": {"out": str(self.outside / "run")},
            "encoder": {"encoder": "/dev/zero"},
            "environments": {"n_envs": 10**6, "subproc": True},
            "threads": {"threads": 10**6},
            "network": {"learner_kwargs": whole["learner_kwargs"] | {"net_arch": [10**6, 10**6]}},
            "no-network": {"learner_kwargs": whole["learner_kwargs"] | {"net_arch": "evil"}},
            "steps": {"learner_kwargs": whole["learner_kwargs"] | {"n_steps": 10**12}},
            "policy": {"policy": "os.system"},
            "policy-path": {"policy": "../evil"},
            "device": {"device": "evil"},
            "replay": {"learner": "sac", "learner_kwargs": {"buffer_size": 10**13}},
        }
        for name, change in code.items():
            content = json.dumps(whole | change).encode()
            yield Case(f"config-{name}", "config", lambda folder, content=content: self._run(folder, "config.json", content))
        for name, content in {"progress": b"\0" * 1000, "columns": b"a,b\n1,2\n", "field": b'"' + b"x" * 200_000 + b'"\n'}.items():
            yield Case(f"csv-{name}", "resume", lambda folder, content=content: self._run(folder, "episodes.csv", content))
            yield Case(f"csv-progress-{name}", "resume", lambda folder, content=content: self._run(folder, "progress.csv", content))

    def _run(self, folder: Path, name: str, content: bytes = b"", make: Callable[[Path], Any] | None = None) -> Path:
        """The whole run with one file replaced, and modules of the names of libraries beside it."""
        path = folder / "run"
        shutil.copytree(self.run, path)
        for module in ("evil", "torch", "tyro", "numpy", "json"):
            (path / f"{module}.py").write_text(self.code)
        (path / name).unlink(missing_ok=True)
        if name != "config.json":
            config = json.loads((path / "config.json").read_text()) | {"steps": 128}
            (path / "config.json").write_text(json.dumps(config))
        _made(path / name, make or (lambda file: file.write_bytes(content)))
        return path

    # --- studies ---

    def studies(self) -> Iterator[Case]:
        about, toml = json.loads((self.study / "study.json").read_text()), (self.study / "study.toml").read_text()
        names = ("../outside/x", str(self.outside / "x"), "..", "", ".hidden", "a\x1b[2Jb", "a\0b", "x" * 300, 3, None, ["x"], "a\\b")
        for number, name in enumerate(names):
            content = json.dumps(about | {"name": name}).encode()
            yield Case(f"study-name-{number}", "report", lambda folder, content=content: self._study(folder, "study.json", content))
        texts = {
            "seeds": toml.replace("seeds = 2", "seeds = 1000000000"),
            "seed-list": toml.replace("seeds = 2", f"seeds = {list(range(20_000))}"),
            "deep": "a = " + "[" * 20_000,
            "task-name": toml.replace('"car"', '"car\\u001b[2J"'),
            "method-name": toml.replace('"vime"', '"vi\\u0007me"'),
            "title": toml.replace('title = ""', 'title = "\\u001b]0;x\\u0007"'),
            "list": "[[study]]\n[[tasks]]\n[[methods]]",
            "demos": toml.replace("[study]", '[study]\ncommand = "imitate"').replace("[run]", '[run]\ndemos = "/"'),
            "demos-zero": toml.replace("[study]", '[study]\ncommand = "imitate"').replace("[run]", '[run]\ndemos = "/dev/zero"'),
            "environments": toml.replace("[run]", "[run]\nn_envs = 1000000"),
            "many": "\n".join(["[study]", "seeds = 100", *(f"[tasks.t{k}]" for k in range(200)), *(f"[methods.m{k}]" for k in range(200))]),
        }
        for name, text in texts.items():
            assert text != toml
            yield Case(f"study-{name}", "report", lambda folder, text=text: self._study(folder, "study.toml", text.encode()))
        cell = next((self.study / "cells").iterdir())
        base = f"cells/{cell.name}"
        result = json.loads((cell / "result.json").read_text())
        for key in result:
            for name, value in {"list": [1], "text": "x\x1b[2J", "null": None, "table": {"a": 1}, "large": 10**400}.items():
                content = json.dumps(result | {key: value}).encode()
                put = f"{base}/result.json"
                yield Case(f"result-{key}-{name}", "report", lambda folder, content=content, put=put: self._study(folder, put, content))
        state: dict[str, Any] = {"list": [1], "failures": {"failures": 3}, "words": {"failures": [1, 2, 3]}, "runner": {"runner": "x"}}
        for name, value in state.items():
            put = f"state/{cell.name}.json"
            content = json.dumps(value).encode()
            yield Case(
                f"state-{name}", "report", lambda folder, content=content, put=put: self._study(folder, put, content, unfinished=base)
            )
        for name, make in self._coverages().items():
            yield Case(f"coverage-{name}", "report", lambda folder, make=make: self._study(folder, f"{base}/coverage.npz", make=make))
        for name, content in {"text": b"hello", "bomb": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;"}.items():
            put = f"{base}/watch.gif"
            yield Case(f"film-{name}", "report", lambda folder, content=content, put=put: self._study(folder, put, content))

    def _coverages(self) -> dict[str, Callable[[Path], Any]]:
        def histogram(counts: np.ndarray, *edges: np.ndarray) -> Callable[[Path], Any]:
            arrays = {"counts": counts, "names": np.array(["x", "y"][: counts.ndim])}
            return lambda path: _npz(path, arrays | {f"edges_{axis}": edge for axis, edge in zip("xy", edges, strict=False)})

        one = np.ones((3, 3), dtype=np.int64)
        return {
            "bomb": lambda path: _zip(path, {"counts.npy": _npy((HUGE,))}, zeros=HUGE),
            "large": histogram(np.ones((4000, 4000), np.int8), np.arange(4001.0), np.arange(4001.0)),
            "far": histogram(one, np.array([0.0, 1, 2, 1e15]), np.array([0.0, 1, 2, 1e15])),
            "nan": histogram(one, np.full(4, np.nan), np.full(4, np.inf)),
            "no-edges": histogram(one),
            "words": histogram(one.astype(str), np.arange(4.0), np.arange(4.0)),
            "five-axes": histogram(np.ones((1, 1, 1, 1, 1), np.int64), np.arange(2.0)),
        }

    def _study(
        self, folder: Path, name: str, content: bytes = b"", make: Callable[[Path], Any] | None = None, unfinished: str | None = None
    ) -> Path:
        path = folder / "study"
        shutil.copytree(self.study, path)
        if unfinished is not None:
            (path / unfinished / "result.json").unlink()
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).unlink(missing_ok=True)
        _made(path / name, make or (lambda file: file.write_bytes(content)))
        return path


def _made(path: Path, make: Callable[[Path], Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    return path


def _write(path: Path, content: bytes) -> Path:
    return _made(path, lambda file: file.write_bytes(content))


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(before)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _npy(shape: tuple[int, ...]) -> bytes:
    return _npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}}}")


def _npy_header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def _zip(path: Path, files: dict[str, bytes], zeros: int = 0, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of ``files``; with ``zeros`` the first of them is followed by so many, packed."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    if zeros:
        (name, content), *_ = files.items()
        packed = _packed_zeros(content, zeros)
        size = min(len(content) + zeros, 2**32 - 2)
        about = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), size, len(name), 0)
        local = b"PK\3\4" + about + name.encode() + packed
        entry = b"PK\1\2" + struct.pack("<H", 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
        path.write_bytes(local + entry + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0))
    return path


def _packed_zeros(start: bytes, zeros: int) -> bytes:
    """Raw deflate of ``start`` and ``zeros``, without packing each of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    million = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + million * (zeros // 2**20) + packer.flush()


def _gzip_zeros(start: bytes, zeros: int) -> bytes:
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + _packed_zeros(start, zeros) + b"\0" * 8


def _npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def _idx(values: np.ndarray) -> bytes:
    return b"\0\0\x08\1" + struct.pack(">I", len(values)) + values.astype(np.uint8).tobytes()


def _png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(bytes(2**20)) if width * height > 2**25 else zlib.compress(bytes((width + 1) * height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def _safetensors(offsets: dict[str, list[int]], content: bytes) -> bytes:
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [(b - a) // 4], "data_offsets": [a, b]} for name, (a, b) in offsets.items()}
    ).encode()
    return struct.pack("<Q", len(header)) + header + content


def _state(path: Path, text: str) -> Path:
    save_file({"a": torch.zeros(2)}, path, metadata={"state": text})
    return path


def _saved(path: Path, state: dict[str, Any]) -> Path:
    save_state(path, state)
    return path
