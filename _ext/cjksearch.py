"""Search that finds English words by their stem and Chinese words of two characters and more.

The built-in index keeps a run of Chinese as one word. Here every pair of neighbouring characters is a word too, in
the index and, by the same rule in JavaScript, in the query.
"""

from __future__ import annotations

import re

from sphinx.search import languages
from sphinx.search.en import SearchEnglish

CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+")


class SearchBilingual(SearchEnglish):
    """English with stemming; runs of Chinese characters are split into all their pairs."""

    js_splitter_code = r"""
var splitQuery = (query) => query.split(/[^\p{L}\p{N}_]+/gu).filter((term) => term).flatMap((term) =>
  (term.match(/[\u3400-\u9fff\uf900-\ufaff]+|[^\u3400-\u9fff\uf900-\ufaff]+/gu) || []).flatMap((run) =>
    /[\u3400-\u9fff\uf900-\ufaff]/u.test(run) && run.length > 2
      ? Array.from({length: run.length - 1}, (_, i) => run.slice(i, i + 2)) : [run]));
"""

    def split(self, text: str) -> list[str]:
        words = []
        for word in super().split(text):
            words += [part for part in CJK.sub(" ", word).split() if part]
            for run in CJK.findall(word):
                words += [run] if len(run) < 3 else [run[i : i + 2] for i in range(len(run) - 1)]
        return words

    def word_filter(self, word: str) -> bool:
        return super().word_filter(word) or bool(CJK.fullmatch(word))


def setup() -> None:
    """Replace the English search of Sphinx."""
    languages["en"] = SearchBilingual
