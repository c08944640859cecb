"""lib.data.hub on stand-ins under BOOK_HUB: what is loaded, what is computed, what is refused."""

import math
import sys

import numpy as np
import pytest
import standins
import torch

from lib.data import hub

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("default")  # transformers warns about its own future

REVISION = "0123456789" * 4
ENTRIES = [
    {"id": "tiny/gpt", "kind": "causal-lm"},
    {"id": "tiny/bert", "kind": "masked-lm"},
    {"id": "tiny/judge", "kind": "classifier"},
    {"id": "tiny/wiki", "kind": "texts", "file": "raw/test.parquet", "column": "text"},
    {"id": "tiny/lines", "kind": "texts", "file": "test.jsonl", "column": "review"},
    {"id": "tiny/glove", "kind": "vectors", "file": "glove.npy"},
    {"id": "tiny/photos", "kind": "images", "file": "plain/test.parquet"},
]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub")
    standins.make(path, ENTRIES)
    return path


@pytest.fixture(autouse=True)
def book_hub(mirror, monkeypatch):
    monkeypatch.setenv("BOOK_HUB", str(mirror))


def test_a_causal_model_and_its_tokenizer_come_from_the_mirror():
    model, tokenizer = hub.causal_lm("tiny/gpt", REVISION)
    ids = tokenizer("这家酒店 is good", return_tensors="pt")["input_ids"]
    assert not model.training
    assert model(input_ids=ids).logits.shape[:2] == ids.shape
    assert tokenizer.decode(ids[0]) == "这家酒店 is good"  # byte level: nothing is unknown


def test_masked_models_and_classifiers_load_by_the_same_code():
    model, tokenizer = hub.masked_lm("tiny/bert", REVISION, attn_implementation="eager")
    assert tokenizer.mask_token == "[MASK]"
    assert model.config.model_type == "bert"
    judge, tokenizer = hub.classifier("tiny/judge", REVISION)
    batch = tokenizer(["a good film", "不推荐"], padding=True, return_tensors="pt")
    assert judge(**batch).logits.shape == (2, 2)


def test_texts_read_parquet_and_jsonl_alike():
    parquet = hub.texts("tiny/wiki", REVISION, "raw/test.parquet", "text")
    assert parquet == standins.CORPUS
    assert hub.texts("tiny/lines", REVISION, "test.jsonl", "review") == parquet
    assert hub.texts("tiny/lines", REVISION, "test.jsonl", "review", limit=3) == parquet[:3]
    assert hub.texts("tiny/wiki", REVISION, "raw/test.parquet", "text", limit=3) == parquet[:3]


def test_vectors_are_a_matrix_with_at_most_the_asked_number_of_rows():
    E = hub.vectors("tiny/glove", REVISION, "glove.npy", limit=7)
    assert E.shape == (7, 24)
    assert np.isfinite(E).all()


def test_perplexity_equals_the_loss_that_the_model_itself_reports():
    model, tokenizer = hub.causal_lm("tiny/gpt", REVISION)
    ids = hub.windows(tokenizer, standins.CORPUS, 32, count=5)
    assert ids.shape == (5, 32)
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    # float32 logits: the two sums differ by rounding alone
    assert hub.perplexity(model, ids, batch=2) == pytest.approx(math.exp(loss), rel=1e-5)


def test_masked_accuracy_sees_the_masked_positions_and_no_others():
    _, tokenizer = hub.masked_lm("tiny/bert", REVISION)
    ids = hub.windows(tokenizer, standins.CORPUS, 20, count=6)

    class Oracle:
        """Copies its input, and answers [MASK] with the token that stands there in truth."""

        device = torch.device("cpu")
        answer = ids

        def __call__(self, input_ids):
            seen = input_ids.clone()
            masked = seen[:, 1:-1] == tokenizer.mask_token_id
            assert masked.sum(1).eq(3).all()  # positions 0, 7, 14
            seen[:, 1:-1][masked] = self.answer[masked]
            return type("Output", (), {"logits": torch.nn.functional.one_hot(seen, len(tokenizer)).float()})

    assert hub.masked_accuracy(Oracle(), tokenizer, ids) == 1.0
    Oracle.answer = torch.full_like(ids, tokenizer.pad_token_id)
    assert hub.masked_accuracy(Oracle(), tokenizer, ids) == 0.0


def test_without_a_mirror_the_pinned_revision_is_asked_from_the_hub(monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda id, **options: asked.update(id=id, **options) or str(tmp_path)
    )
    monkeypatch.delenv("BOOK_HUB")
    assert hub.folder("owner/data", REVISION, "dataset", files=["a.parquet"]) == tmp_path
    assert asked == {"id": "owner/data", "revision": REVISION, "repo_type": "dataset", "allow_patterns": ["a.parquet"]}
    hub.folder("owner/model", REVISION)
    assert "*.safetensors" in asked["allow_patterns"]


@pytest.mark.parametrize(
    ("id", "revision", "kind", "message"),
    [
        ("gpt2", REVISION, "model", "owner/name"),
        ("tiny/gpt", "main", "model", "40 hex digits"),
        ("tiny/gpt", REVISION, "space", "kind must be one of"),
    ],
)
def test_folder_refuses_unpinned_and_malformed_requests(id, revision, kind, message):
    with pytest.raises(ValueError, match=message):
        hub.folder(id, revision, kind)


def test_images_come_as_colour_planes_between_0_and_1_with_their_labels():
    pixels, labels = hub.images("tiny/photos", REVISION, "plain/test.parquet", limit=12)
    assert pixels.shape == (12, 3, 32, 32) and pixels.dtype == torch.float32
    assert 0 <= pixels.min() < 0.1 and 0.9 < pixels.max() <= 1
    assert labels.tolist() == [i % 10 for i in range(12)]


def test_missing_files_strange_formats_and_short_texts_are_refused(mirror):
    with pytest.raises(ValueError, match="has no file"):
        hub.texts("tiny/wiki", REVISION, "absent.parquet", "text")
    (mirror / "tiny/wiki/notes.csv").write_text("text\n")
    with pytest.raises(ValueError, match=r"\.parquet and \.jsonl"):
        hub.texts("tiny/wiki", REVISION, "notes.csv", "text")
    _, tokenizer = hub.causal_lm("tiny/gpt", REVISION)
    with pytest.raises(ValueError, match="one window of 50 tokens"):
        hub.windows(tokenizer, ["short"], 50)
    with pytest.raises(ValueError, match="two tokens"):
        hub.windows(tokenizer, ["short"], 1)


def test_a_missing_package_is_named_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        hub.causal_lm("tiny/gpt", REVISION)
