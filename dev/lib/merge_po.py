"""Bring a translation up to date with its template: merge_po.py PO POT"""

import sys

import polib

translation, template = sys.argv[1:]
po = polib.pofile(translation, wrapwidth=78)
po.merge(polib.pofile(template))
for entry in po.obsolete_entries():
    po.remove(entry)
po.save(translation)
missing = [entry.msgid for entry in po if not entry.msgstr or entry.fuzzy]
for text in missing:
    print(f"{translation}: not translated: {text!r}")
sys.exit(1 if missing else 0)
