"""Rebuild lib/assets/NotoSansSC-Book.otf: the 3755 common Chinese characters (GB 2312 level 1) and CJK punctuation.

Usage: python tools/build_font.py NotoSansCJK-Regular.ttc   (fontTools needed; the font is under the SIL OFL 1.1)
"""

import sys
from pathlib import Path

from fontTools import subset, ttLib

OUT = Path(__file__).parents[1] / "lib/assets/NotoSansSC-Book.otf"
RARER = "熵"  # characters outside level 1 that figures use
COMMON = "".join(bytes([row, col]).decode("gb2312", "ignore") for row in range(0xB0, 0xD8) for col in range(0xA1, 0xFF))


def main(source: str) -> None:
    options = subset.Options(font_number=2, hinting=False, layout_features=[], notdef_outline=True, name_IDs=["*"])
    font = subset.load_font(source, options)
    worker = subset.Subsetter(options)
    worker.populate(text=COMMON + RARER + "、。《》「」！（），：；？…—·")
    worker.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 4, 16):
            font["name"].setName("Noto Sans SC Book", record.nameID, record.platformID, record.platEncID, record.langID)
    subset.save_font(font, str(OUT), options)
    print(f"{OUT}: {OUT.stat().st_size / 1e3:.0f} kB, {ttLib.TTFont(OUT)['maxp'].numGlyphs} glyphs")


if __name__ == "__main__":
    main(sys.argv[1])
