"""The site's search finds English stems and Chinese words of two characters, in the index and in the browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from bs4 import BeautifulSoup

from _ext.cjksearch import SearchBilingual

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGES = {
    "alpha": "Rotary positions\n================\n\n我们训练一个线性注意力模型，GELU近似来自误差函数。\n",
    "beta": "Training curves\n===============\n\nEach optimizer descends slowly. 积分梯度。\n",
    "index": "Home\n====\n\n.. toctree::\n\n   alpha\n   beta\n",
}


def test_runs_of_chinese_become_pairs_and_english_stays_whole():
    words = SearchBilingual({}).split("训练集 GELU近似 rotary 熵")
    assert words == ["训练", "练集", "GELU", "近似", "rotary", "熵"]


def test_chinese_pairs_pass_the_filter_and_stop_words_do_not():
    language = SearchBilingual({})
    assert language.word_filter("训练")
    assert not language.word_filter("the")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain Sphinx site with our search."""
    source = tmp_path_factory.mktemp("search")
    for name, text in PAGES.items():
        (source / f"{name}.rst").write_text(text, encoding="utf-8")
    conf = "from _ext import cjksearch\nproject = 'Mini'\nlanguage = 'en'\nhtml_theme = 'basic'\ncjksearch.setup()\n"
    (source / "conf.py").write_text(conf, encoding="utf-8")
    out = source / "out"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(source), str(out)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return out


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("训练", {"alpha.html"}),
        ("注意力", {"alpha.html"}),
        ("线性注意力", {"alpha.html"}),
        ("积分梯度", {"beta.html"}),
        ("梯度", {"beta.html"}),
        ("GELU近似", {"alpha.html"}),
        ("descending", {"beta.html"}),
        ("optimizers", {"beta.html"}),
        ("随机", set()),
    ],
)
def test_the_search_page_hits(built: Path, tmp_path: Path, query: str, hits: set[str]):
    address = f"{(built / 'search.html').as_uri()}?q={quote(query)}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run([str(CHROMIUM), *options, address], capture_output=True, text=True, timeout=60, check=True)
    links = BeautifulSoup(done.stdout, "html.parser").select("#search-results li a")
    assert {str(a["href"]).split("?")[0].split("#")[0] for a in links} == hits
