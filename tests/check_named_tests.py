"""Every test that docs/promise.md and docs/failures.md name exists. A name stands in a code span: `test_…` of the
end-to-end tests and the attacks, or, in words, a doctest case. The tables' columns "shown by" hold nothing else, and no empty row."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs/promise.md", ROOT / "docs/failures.md"]


def existing():
    names = set()
    for file in [*(ROOT / "tests/e2e").glob("test_*.py"), *(ROOT / "tests/attack").glob("test_*.py")]:
        names.update(re.findall(r"^    def (test_\w+)\(", file.read_text(), re.MULTILINE))
    for file in (ROOT / "tests").glob("*_test.cc"):
        for case in re.findall(r'TEST_CASE\(\s*((?:"[^"]*"\s*)+)', file.read_text()):
            names.add("".join(re.findall(r'"([^"]*)"', case)))
    return names


def spans(text):
    return re.findall(r"`([^`]+)`", text)


def named(page):
    """(line number, name) of all that claim to be a test; a row that names none has the name None."""
    columns = None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            columns = None
            # Prose: single words are options and the like.
            yield from ((number, name) for name in spans(line) if name.startswith("test_") or name.count(" ") > 3)
        elif columns is None:
            columns = [i for i, cell in enumerate(cells) if "shown by" in cell]
        elif columns and not line.startswith("| ---"):
            shown = [name for i in columns for name in spans(cells[i])]
            yield from ((number, name) for name in shown or [None])


def main():
    tests, wrong, count = existing(), [], 0
    for page in PAGES:
        for number, name in named(page):
            count += 1
            if name is None:
                wrong.append(f"{page.name}:{number}: this row names no test")
            elif name not in tests:
                wrong.append(f"{page.name}:{number}: there is no test `{name}`")
    print("\n".join(wrong) or f"{count} tests are named, and all of them exist")
    return bool(wrong) or count == 0


sys.exit(main())
