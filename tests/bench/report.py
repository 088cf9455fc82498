# SPDX-License-Identifier: BSD-2-Clause
"""From a suite's result to what is read: lines on a terminal, tables of docs/benchmarks.md, pictures."""

import re
import statistics

import plot

BEGIN = "<!-- From here on scripts/bench writes. -->"


def spread(runs, key):
    """(least, median, most), or None."""
    values = [r[key] for r in runs if r.get(key) is not None]
    return (min(values), statistics.median(values), max(values)) if values else None


def cell(runs, key):
    got = spread(runs, key)
    if not got:
        return "–"
    low, middle, high = map(plot.number, got)
    return middle if low == high else f"**{middle}** ({low} – {high})"


def ratio(section, row):
    """Of the first column to the first row that has numbers."""
    key = section["columns"][0][0]
    first = next((r for r in section["rows"] if r["runs"]), None)
    base, own = (spread(r["runs"], key) if r else None for r in (first, row))
    return f"{own[1] / base[1]:.2f}" if base and own and base[1] else "–"


def table(section):
    columns = section["columns"]
    with_ratio = section.get("ratio", True)
    heads = ["", *(f"{title}, {unit}" for _, title, unit, _ in columns)]
    if with_ratio:
        heads.insert(2, "ratio")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in section["rows"]:
        name = row["name"] + (f" <br> <sub>{row['note']}</sub>" if row["note"] else "")
        cells = [cell(row["runs"], c[0]) for c in columns]
        if with_ratio:
            cells.insert(1, ratio(section, row))
        if not row["runs"]:
            cells = [(row["reason"] or "–").replace("|", "/"), *[""] * (len(cells) - 1)]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


AUTO = "sluice auto"
ROUNDS_TO_JUDGE = 5


def judgement(section):
    """Whether auto is as good as the best of our engines by itself, by the column that the section
    names; "" if it names none. Of two that are the same one is worse in all of 5 rounds once in 32, in
    both of 2 once in 4."""
    judged = [c for c in section["columns"] if c[0] == section.get("judged")]
    rows = {r["name"]: r["runs"] for r in section["rows"]
            if r["runs"] and r["name"].startswith("sluice ")}
    own = rows.pop(AUTO, None)
    if not judged or not own or not rows:
        return ""
    key, title, _, better = judged[0]
    sign = 1 if better == "more" else -1
    best = max(rows, key=lambda name: sign * spread(rows[name], key)[1])
    other = {run["round"]: run[key] for run in rows[best]}
    ratios = sorted(run[key] / max(other[run["round"]], 1e-9) for run in own if run["round"] in other)
    if not ratios:
        return ""
    worse = sum(sign * (r - 1) < 0 for r in ratios)
    said = ("can't be judged in so few rounds beside" if len(ratios) < ROUNDS_TO_JUDGE else
            "is behind" if worse == len(ratios) else "is as good as")
    return (f"{AUTO} {said} the best single engine ({best}) in {title}: "
            f"{statistics.median(ratios):.2f} of it ({ratios[0]:.2f} to {ratios[-1]:.2f}), worse in "
            f"{worse} of {len(ratios)} rounds.")


def picture_name(suite, number):
    return f"{suite}-{number}.svg"


def pictures(result):
    """{file name: SVG}"""
    made = {}
    for i, section in enumerate(result["sections"], 1):
        key, title, unit, better = section["columns"][0]
        rows = [(r["name"], *spread(r["runs"], key)) for r in section["rows"] if spread(r["runs"], key)]
        if rows:
            made[picture_name(result["suite"], i)] = plot.bars(
                f"{section['title']}: {title}", unit, better, rows)
    return made


def facts(result):
    m, e = result["machine"], result["effort"]
    versions = ", ".join(f"{n} {v}" for n, v in m["versions"].items())
    return (f"{m['day']}, sluice {m['sluice']}, Linux {m['kernel']}, {m['cores']} cores of {m['cpu']}, "
            f"{m['memory_gib']} GiB; {versions}. {e['rounds']} interleaved rounds of {e['seconds']:g} s. "
            f"Other work on the machine before the run: {m['background']:.0f} % of it.")


def chapter(result, folder):
    lines = [f"## {result['title']}", "", facts(result), ""]
    for i, section in enumerate(result["sections"], 1):
        lines += [f"### {section['title']}", "", section["note"], "",
                  f"![{section['title']}]({folder}/{picture_name(result['suite'], i)})", "",
                  *table(section), ""]
        if said := judgement(section):
            lines += [said, ""]
    return lines


def document(intro, results, folder):
    """intro: the document as it is; what is above the mark stays."""
    head = intro.split(BEGIN)[0].rstrip()
    lines = [head, "", BEGIN, ""]
    for result in results:
        lines += chapter(result, folder)
    return "\n".join(lines).rstrip() + "\n"


def terminal(section):
    """The table without its markup."""
    rows = [[re.sub(r"\*\*| <br>.*", "", c.strip()) for c in line.strip("|").split("|")]
            for line in table(section) if not line.startswith("|---")]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows]
    return "\n".join("  " + line for line in [*lines, judgement(section)] if line)
