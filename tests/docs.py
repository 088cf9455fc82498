# SPDX-License-Identifier: BSD-2-Clause
"""What a program can check of the documents: links and anchors lead somewhere, and the keys of
docs/sluice.yaml.md are those of the parser's tables. Used by checks.py."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "userspace" / "proxy" / "config"

# A table of the parser: the section of the document, which table there, what stands before its keys.
TABLES = {
    "config_schema.c root_keys": ("Top level", 0, ""),
    "config_schema.c splice_keys": ("splice", 0, ""),
    "config_schema.c limits_keys": ("limits", 0, ""),
    "config_schema.c timeouts_keys": ("timeouts", 0, ""),
    "config_schema.c access_log_keys": ("access_log", 0, ""),
    "config_schema.c resolver_keys": ("resolver", 0, ""),
    "config_schema.c pool_keys": ("pool", 0, ""),
    "config_schema.c listener_keys": ("listeners", 0, ""),
    "config_dpdk.c dpdk_keys": ("dpdk", 0, ""),
    "config_dpdk.c port_keys": ("dpdk", 1, ""),
    "config_route.c route_keys": ("Routes", 0, ""),
    "config_route.c rewrite_keys": ("Routes", 0, "rewrite."),
    "config_upstream.c upstream_keys": ("Upstreams", 0, ""),
    "config_upstream.c pool_keys": ("Upstreams", 0, "pool."),
    "config_upstream.c retry_keys": ("Upstreams", 0, "retry."),
    "config_upstream.c eject_keys": ("Upstreams", 0, "eject."),
    "config_upstream.c server_keys": ("Upstreams", 1, ""),
    "config_upstream.c resolve_keys": ("Servers by name", 0, ""),
    "config_upstream.c health_keys": ("Checks", 0, ""),
    "config_acl.c condition_keys": ("Access rules", 0, ""),
}
# Small ones, whose keys stand in the code of a section's text.
IN_TEXT = {
    "config_schema.c always_keys": "access_log",
    "config_schema.c auth_keys": "listeners",
    "config_schema.c listener_limits_keys": "listeners",
    "config_acl.c rule_keys": "Access rules",
    "config_fields.c condition_keys": "Routes",
    "config_fields.c edit_keys": "Changes to fields",
    "config_fields.c edits_keys": "Changes to fields",
    "config_route.c redirect_keys": "Routes",
    "config_route.c respond_keys": "Routes",
    "config_route.c limits_keys": "Routes",
    "config_values.c rate_keys": "Rates",
}
# A key of routes that has its own section.
ELSEWHERE = {("Routes", "sni"): "TLS passthrough"}

_TABLE = re.compile(r"static const struct sl_yaml_key (\w+)\[\] = \{(.*?)^\};", re.S | re.M)
_KEY = re.compile(r'^\t\{?(?:\.name = |[A-Z_]+\()"?(\w+)"?,', re.M)


def parser_tables(sources):
    """{"file table": [key, ...]} of {file: text}."""
    return {f"{file} {name}": _KEY.findall(rows) for file, text in sources.items()
            for name, rows in _TABLE.findall(text)}


def sections(text):
    """{heading: text up to the next heading}."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def documented(section):
    """Of each table of keys in a section the names in its rows' first cells."""
    tables = []
    for rows in re.findall(r"^\| (?:key|condition)\b.*\n\|[-|]+\n((?:\|.*\n?)+)", section, re.M):
        tables.append([key for row in rows.splitlines()
                       for key in re.findall(r"`([^`]+)`", row.split("|")[1])])
    return tables


def wrong_keys(tables, text):
    """What differs between the parser's tables and the document."""
    part = sections(text)
    known = {}
    for name, keys in tables.items():
        if name in TABLES:
            section, number, prefix = TABLES[name]
            known.setdefault((section, number), []).extend(prefix + k for k in keys)
        elif name in IN_TEXT:
            code = " ".join(re.findall(r"`[^`\n]+`|^  .*", part[IN_TEXT[name]], re.M))
            yield from (f"{name}: {k} is not in section {IN_TEXT[name]}" for k in keys
                        if not re.search(rf"\b{k}\b", code))
        else:
            yield f"{name}: no section of the document is known for it"
    for (section, number), keys in known.items():
        rows = documented(part[section])[number]
        outer = {k.split(".")[0] for k in rows if "." in k}
        for key in set(keys) - set(rows) - outer:
            if f"`{{{key}:" not in part.get(ELSEWHERE.get((section, key)), ""):
                yield f"{section}: {key} is not documented"
        yield from (f"{section}: no such key as {k}" for k in set(rows) - set(keys))


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        n = next(n for n in range(100) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{n}" if n else slug)
    return found


def dead_links(path, text):
    """Links of a document to files and headings that are not there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = path.parent / name if name else path
        if not file.exists():
            yield f"{path.name}: no file {target}"
        elif anchor and anchor not in anchors(file.read_text() if name else text):
            yield f"{path.name}: no heading {target}"


def links_in_documents_lead_somewhere():
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [bad for path in paths for bad in dead_links(path, path.read_text())]


def the_keys_in_the_document_are_those_of_the_parser():
    sources = {p.name: p.read_text() for p in sorted(CONFIG.glob("*.c"))}
    return list(wrong_keys(parser_tables(sources), (ROOT / "docs" / "sluice.yaml.md").read_text()))


def the_checks_of_documents_find_what_is_wrong():
    """A check must be able to fail."""
    path = ROOT / "README.md"
    tables = {"config_schema.c pool_keys": ["idle", "new"], "config_values.c rate_keys": ["odd"],
              "config_x.c x_keys": ["x"]}
    text = "# pool\n| key | type |\n|---|---|\n| `idle` | n |\n| `gone` | n |\n\n# Rates\n`rate`\n"
    bad = list(wrong_keys(tables, text))
    found = [("pool: new is not documented", bad), ("pool: no such key as gone", bad),
             ("config_values.c rate_keys: odd is not in section Rates", bad),
             ("config_x.c x_keys: no section of the document is known for it", bad),
             ("README.md: no file nowhere.md", list(dead_links(path, "[a](nowhere.md)"))),
             ("README.md: no heading #b", list(dead_links(path, "# a\n[a](#a) [b](#b)")))]
    return [f"{what} was not found in {list_}" for what, list_ in found if what not in list_]
