"""docs/http.md lists the problems that guard/problem.cc makes, with their statuses and advice, and the headers that Ledger sets; no
more and no fewer."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/http.md").read_text()
ADVICE = {"retry", "wait", "stop", "fix", "ask_a_person"}


def made():
    """{slug: (statuses, advice)}, of the source."""
    problems = {}
    for function in re.split(r"\n(?=Problem \w+\()", (ROOT / "guard/problem.cc").read_text())[1:]:
        text = re.sub(r"\s+", " ", function)
        head = re.search(r'make\( ?"([a-z-]+)", ([^"]+), "', text)
        if not head or not function.startswith("Problem ") or text.startswith("Problem make"):
            continue
        said = re.search(r'"(retry|wait|stop|fix|ask_a_person)"', text)
        if "in_question(" in text:
            advice = "ask_a_person"
        else:
            advice = said[1] if said else "retry" if re.search(r", true\)", text) else "fix"
        statuses, advised = problems.setdefault(head[1], (set(), set()))
        statuses.update(map(int, re.findall(r"\b\d{3}\b", head[2])))
        advised.add(advice)
    return problems


def rows():
    """(slug, statuses, advice) of each row of the table of problems."""
    table = PAGE[PAGE.index("| problem | status"):].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield cells[0].strip("`"), set(map(int, re.findall(r"\d+", cells[1]))), set(re.findall(r"`(\w+)`", cells[3])), cells


def main():
    wrong, problems, listed = [], made(), {}
    for slug, statuses, advice, cells in rows():
        if slug in listed:
            wrong.append(f"`{slug}` is listed twice")
        listed[slug] = (statuses, advice)
        if not advice or advice - ADVICE or len(cells) != 5 or not cells[4]:
            wrong.append(f"`{slug}`: the row lacks its advice, or what an agent does")
    wrong += [f"docs/http.md does not list `{slug}`" for slug in problems.keys() - listed.keys()]
    wrong += [f"guard/problem.cc makes no `{slug}`" for slug in listed.keys() - problems.keys()]
    wrong += [f"`{slug}` has status and advice {problems[slug]}, not {listed[slug]}"
              for slug in problems.keys() & listed.keys() if problems[slug] != listed[slug]]
    headers = set()
    for file in [*ROOT.glob("proxy/*.cc"), *ROOT.glob("guard/*.cc"), *ROOT.glob("fingerprint/*.cc")]:
        headers.update(re.findall(r'"(Ledger-[A-Za-z-]+)"', file.read_text()))
    wrong += [f"docs/http.md does not name the header {name}" for name in sorted(headers) if f"`{name}`" not in PAGE]
    print("\n".join(wrong) or f"{len(listed)} problems and {len(headers)} headers, all of them listed")
    return bool(wrong) or not listed or not headers


sys.exit(main())
