"""Models, texts and vectors from the Hugging Face hub, pinned to a revision, with a local mirror for tests.

`$BOOK_HUB/<id>` is looked up before the network, and every id needs the 40 hex digits of a commit. The packages that
do the work (`pip install "executable-spaces[full]"`) are imported inside the functions: the default mode never asks
for them.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.checks import at_least, checked

KINDS = ("model", "dataset")
# One set of weights and the tokenizer: repositories also carry the same weights for other frameworks.
MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"the full mode needs {package}; install it with: pip install {package}") from error


def folder(id: str, revision: str, kind: str = "model", *, files: Sequence[str] = ()) -> Path:
    """A local folder with the repository `id` at commit `revision`: `$BOOK_HUB/<id>` if it exists, else downloaded.

    `files` are the patterns to fetch; a model without them fetches configuration, tokenizer and safetensors.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", id):
        raise ValueError(f"a hub id is owner/name, such as 'openai-community/gpt2', got {id!r}")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(f"{id}: a revision is the 40 hex digits of a commit, got {revision!r}")
    if kind not in KINDS:
        raise ValueError(f"{id}: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    mirror = os.environ.get("BOOK_HUB")
    if mirror and (local := Path(mirror) / id).is_dir():
        return local
    hub = _need("huggingface_hub", "huggingface_hub")
    patterns = list(files) or (list(MODEL_FILES) if kind == "model" else None)
    return Path(hub.snapshot_download(id, revision=revision, repo_type=kind, allow_patterns=patterns))


def _load(auto: str, id: str, revision: str, device: str | torch.device, options: dict[str, Any]) -> tuple[Any, Any]:
    transformers = _need("transformers", "transformers")
    path = folder(id, revision)
    model = getattr(transformers, auto).from_pretrained(path, **options)
    return model.to(device).eval(), transformers.AutoTokenizer.from_pretrained(path)


def causal_lm(id: str, revision: str, *, device: str | torch.device = "cpu", **options: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of a language model that predicts the next token; `options` go to `from_pretrained`."""
    return _load("AutoModelForCausalLM", id, revision, device, options)


def masked_lm(id: str, revision: str, *, device: str | torch.device = "cpu", **options: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of a language model that fills masked tokens; `options` go to `from_pretrained`."""
    return _load("AutoModelForMaskedLM", id, revision, device, options)


def classifier(id: str, revision: str, *, device: str | torch.device = "cpu", **options: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of a sequence classifier; `options` go to `from_pretrained`."""
    return _load("AutoModelForSequenceClassification", id, revision, device, options)


def _file(id: str, revision: str, file: str, kind: str) -> Path:
    path = folder(id, revision, kind, files=[file]) / file
    if not path.is_file():
        raise ValueError(f"{id} at {revision[:8]} has no file {file!r}")
    return path


def texts(id: str, revision: str, file: str, column: str, *, limit: int | None = None) -> list[str]:
    """The first `limit` texts in `column` of a parquet or jsonl file of a data set."""
    path = _file(id, revision, file, "dataset")
    rows: Iterator[Any]
    if path.suffix == ".parquet":
        table = _need("pyarrow.parquet", "pyarrow").read_table(path, columns=[column])
        rows = iter(table.slice(0, limit).column(column).to_pylist())
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            rows = iter([json.loads(line)[column] for line in islice(lines, limit)])
    else:
        raise ValueError(f"texts reads .parquet and .jsonl files, got {file!r}")
    return [str(row) for row in rows]


def vectors(
    id: str, revision: str, file: str, *, kind: str = "model", limit: int | None = None
) -> Float[np.ndarray, "words d"]:
    """The first `limit` rows of a matrix of word vectors stored as a `.npy` file."""
    matrix = np.load(_file(id, revision, file, kind), mmap_mode="r", allow_pickle=False)[:limit]
    if matrix.ndim != 2 or not len(matrix):
        raise ValueError(f"{id}: expected a matrix of word vectors in {file}, got shape {matrix.shape}")
    return np.array(matrix)


def images(
    id: str, revision: str, file: str, *, image: str = "img", label: str = "label", limit: int | None = None
) -> tuple[Float[Tensor, "b k height width"], Int[Tensor, " b"]]:
    """The first `limit` images of a parquet file, colours in [0, 1], and their labels; all of one size."""
    path = _file(id, revision, file, "dataset")
    table = _need("pyarrow.parquet", "pyarrow").read_table(path, columns=[image, label]).slice(0, limit)
    picture = _need("PIL.Image", "pillow")
    rows = [picture.open(io.BytesIO(row["bytes"])).convert("RGB") for row in table.column(image).to_pylist()]
    pixels = torch.from_numpy(np.stack([np.asarray(row) for row in rows])).permute(0, 3, 1, 2)
    return pixels.float() / 255, torch.tensor(table.column(label).to_pylist())


def windows(tokenizer: Any, lines: Iterable[str], window: int, count: int | None = None) -> Int[Tensor, "rows window"]:
    """The joined lines as token ids without special tokens, cut into rows of `window`; the remainder is dropped."""
    if window < 2:
        raise ValueError(f"a window needs two tokens or more, got {window}")
    ids = tokenizer("\n".join(lines), add_special_tokens=False, verbose=False)["input_ids"]
    rows = min(len(ids) // window, count if count is not None else len(ids))
    if rows < 1:
        raise ValueError(f"expected text for one window of {window} tokens at least, got {len(ids)} tokens")
    return torch.tensor(ids[: rows * window]).view(rows, window)


@checked
@torch.no_grad()
def perplexity(model: Any, ids: Int[Tensor, "rows window"], *, batch: int = 8) -> float:
    """exp of the mean negative log likelihood of every token but the first of its row: rows do not see each other."""
    at_least(1, batch=batch)
    if ids.shape[1] < 2:
        raise ValueError(f"expected rows of two tokens or more, got {ids.shape[1]}")
    total = 0.0
    for rows in ids.split(batch):
        rows = rows.to(model.device)
        log_p = model(input_ids=rows).logits[:, :-1].float().log_softmax(-1)
        total -= log_p.gather(-1, rows[:, 1:, None]).double().sum().item()
    return math.exp(total / (ids.shape[0] * (ids.shape[1] - 1)))


@checked
@torch.no_grad()
def masked_accuracy(
    model: Any, tokenizer: Any, ids: Int[Tensor, "rows window"], *, every: int = 7, batch: int = 8
) -> float:
    """The share of masked tokens that a masked language model fills with the true one; every `every`-th is masked."""
    if not 1 <= every <= ids.shape[1]:
        raise ValueError(f"every must lie in [1, {ids.shape[1]}], got {every}")
    at_least(1, batch=batch)
    hits = 0
    for rows in ids.split(batch):
        start, end = (rows.new_full((len(rows), 1), t) for t in (tokenizer.cls_token_id, tokenizer.sep_token_id))
        hidden = rows.clone()
        hidden[:, ::every] = tokenizer.mask_token_id
        best = model(input_ids=torch.cat([start, hidden, end], 1).to(model.device)).logits.argmax(-1).cpu()
        hits += int((best[:, 1:-1] == rows)[:, ::every].sum())
    return hits / (len(ids) * len(range(0, ids.shape[1], every)))
