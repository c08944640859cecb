"""Run articles at full scale and keep their records: BOOK_MODE=full python -m tools.full_run SLUG [SLUG ...].

Writes results/full/<slug>.json with the ledger, hardware, versions and the hash of the code. Commit that file to
contribute a full run; nothing else may write there.
"""

from __future__ import annotations

import json
import platform
import sys
from typing import Any

from lib import config
from tools.articles import articles
from tools.run_notebooks import ROOT, choose, run


def hardware() -> str:
    """The name of the accelerator, or of the processor when there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


def main() -> int:
    if config.mode() != "full" or len(sys.argv) < 2:
        raise SystemExit(__doc__)
    from _ext import results

    chosen = choose(sys.argv[1:], articles(ROOT))
    status = run(chosen, timeout=6 * 3600)
    for article in chosen:
        if done := results.load(ROOT, article.path):
            record: dict[str, Any] = {"hardware": hardware(), "date": done.date, "versions": done.versions}
            record |= {"key": done.key, "seconds": done.seconds, "records": done.records}
            out = ROOT / "results" / "full" / f"{article.slug}.json"
            out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
            print(f"{out}: commit this file to contribute the run")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
