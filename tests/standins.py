"""Tiny random models, tokenizers and data sets of the right class under a `BOOK_HUB` folder, made without a network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

POSITIONS = 512
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CORPUS = [
    "the quick brown fox jumps over the lazy dog and runs back to the house .",
    "a model is trained on many sentences , and this one is not a good film .",
    "it was a great movie : the story is clever , the acting is fine and honest .",
    "这家酒店的服务很好，房间也干净，下次还会再来。",
    "屏幕太差，电池也不行，实在不推荐大家购买。",
] * 8


def _tokenizer(path: Path, *, byte_level: bool) -> int:
    """Save a tokenizer learned from the corpus: byte-level pairs as GPT-2 has, or word pieces as BERT has."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if byte_level:
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        )
        names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    else:
        core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        core.normalizer = normalizers.BertNormalizer()
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    core.train_from_iterator(CORPUS, trainer)
    if not byte_level:
        core.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(t, core.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
        )
    PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=POSITIONS, **names).save_pretrained(path)
    return core.get_vocab_size()


def _causal_lm(path: Path, entry: Mapping[str, Any]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    vocab = _tokenizer(path, byte_level=True)
    shape = {"vocab_size": vocab, "n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 4}
    GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).save_pretrained(path)


def _bert(path: Path, head: str) -> None:
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(
        vocab_size=_tokenizer(path, byte_level=False), max_position_embeddings=POSITIONS, num_labels=2, **shape
    )
    getattr(transformers, head)(config).save_pretrained(path)


def _masked_lm(path: Path, entry: Mapping[str, Any]) -> None:
    _bert(path, "BertForMaskedLM")


def _classifier(path: Path, entry: Mapping[str, Any]) -> None:
    _bert(path, "BertForSequenceClassification")


def _texts(path: Path, entry: Mapping[str, Any]) -> None:
    file, column = path / entry["file"], entry["column"]
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({column: CORPUS, "label": [i % 2 for i in range(len(CORPUS))]}), file)
    else:
        rows = [json.dumps({column: text, "label": i % 2}, ensure_ascii=False) for i, text in enumerate(CORPUS)]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _vectors(path: Path, entry: Mapping[str, Any]) -> None:
    file = path / entry["file"]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32))


def _images(path: Path, entry: Mapping[str, Any]) -> None:
    import io

    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    rng, rows = np.random.default_rng(0), []
    for _ in range(40):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(png := io.BytesIO(), "PNG")
        rows.append({"bytes": png.getvalue(), "path": None})
    file = path / entry["file"]
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"img": rows, "label": [i % 10 for i in range(40)]}), file)


MAKERS = {
    "causal-lm": _causal_lm,
    "masked-lm": _masked_lm,
    "classifier": _classifier,
    "texts": _texts,
    "vectors": _vectors,
    "images": _images,
}


def make(folder: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a stand-in under `folder/<id>` for each `full.hub` entry of an article's front matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for entry in entries:
            if entry.get("kind") not in MAKERS:
                known = ", ".join(MAKERS)
                raise ValueError(f"{entry.get('id')}: no stand-in for kind {entry.get('kind')!r}; kinds are {known}")
            path = Path(folder) / entry["id"]
            path.mkdir(parents=True, exist_ok=True)
            MAKERS[entry["kind"]](path, entry)
