"""Run the book under several seeds and record how often each verdict held: python -m tools.sweep COUNT [SLUG ...].

Writes results/sweep.json, which the scoreboard shows. A claim that fails is counted, not raised.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from tools.articles import articles
from tools.run_notebooks import ROOT, choose, run

OUT = ROOT / "results" / "sweep.json"


def tally(runs: dict[int, list[dict[str, Any]]]) -> dict[str, int]:
    """For each claim the number of seeds under which its verdict held; undecided claims are left out."""
    counts: dict[str, int] = {}
    for records in runs.values():
        for record in records:
            if record["held"] is not None:
                counts[record["id"]] = counts.get(record["id"], 0) + record["held"]
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="seeds 0 to COUNT-1")
    parser.add_argument("slugs", nargs="*")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error(f"COUNT must be at least 1, got {arguments.count}")
    from _ext import results

    chosen = choose(arguments.slugs, articles(ROOT)) if arguments.slugs else articles(ROOT)
    os.environ["BOOK_LEDGER"] = "record"
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {article.slug: {} for article in chosen}
    crashed = []
    for seed in range(arguments.count):
        os.environ["BOOK_SEED"] = str(seed)
        run([a for a in chosen if results.load(ROOT, a.path) is None])
        for article in chosen:
            if done := results.load(ROOT, article.path):
                runs[article.slug][seed] = done.records
            else:
                crashed.append(f"{article.slug} at seed {seed}")
    table = json.loads(OUT.read_text()) if OUT.exists() else {}
    for article in chosen:
        claims = tally(runs[article.slug])
        key = results.code_key(article)
        table[article.slug] = {"key": key, "seeds": sorted(runs[article.slug]), "claims": claims}
        of = len(runs[article.slug])
        print(f"{article.slug:34s}" + " ".join(f"{c}:{held}/{of}" for c, held in claims.items()))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    if crashed:
        print("did not run through: " + ", ".join(crashed))
    return bool(crashed)


if __name__ == "__main__":
    raise SystemExit(main())
