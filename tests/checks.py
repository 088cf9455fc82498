#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Rules of the house that a program can check: who may include whom, formatting, sizes of files and
functions, scripts that parse. Prints TAP."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import docs

ROOT = Path(__file__).resolve().parent.parent

# Room: what its files may include of ours. A name with a slash is one header.
MAY_INCLUDE = {
    "include/sluice": {"sluice"},
    "bpf": {"sluice", "bpf"},
    "userspace/base": {"base", "sluice"},
    "userspace/http": {"http", "base", "sluice"},
    "userspace/transport": {"transport", "base", "sluice"},
    "userspace/splice": {"splice", "transport/transport.h", "base", "sluice", "bpf"},
    "userspace/proxy": {"proxy", "base", "http", "sluice", "transport/transport.h",
                        "splice/engine.h", "splice/policy.h"},
    "dpdk": {"dpdk", "base", "sluice", "transport/transport.h", "splice/engine.h",
             "splice/netlink.h", "splice/packet_ports.h", "splice/packet_prepare.h",
             "splice/packet_state.h", "splice/reasons.h"},
}
ROOMS = {"base", "http", "transport", "splice", "proxy", "cli", "dpdk", "sluice", "bpf"}
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 110

_INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)


def listed_by_git():
    """None where there is no git, or no repository."""
    try:
        listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co",
                                 "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return listed.stdout.split("\n") if listed.returncode == 0 else None


def sources(*suffixes):
    names = listed_by_git() or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                                if not p.relative_to(ROOT).parts[0].startswith("build")]
    return sorted(n for n in names if n.endswith(suffixes) and (ROOT / n).is_file())


def forbidden_includes(name, text):
    room = next((r for r in MAY_INCLUDE if name.startswith(r + "/")), None)
    if room is None:
        return
    for header in _INCLUDE.findall(text):
        first = header.split("/")[0]
        if "/" not in header or first not in ROOMS:
            continue
        # libbpf's own headers are <bpf/...>, and so no room of ours.
        if first == "bpf" and re.search(rf"<{re.escape(header)}>", text):
            continue
        if first not in MAY_INCLUDE[room] and header not in MAY_INCLUDE[room]:
            yield f"{name} includes {header}"


def rooms_include_only_what_they_may():
    return [bad for name in sources(".c", ".h")
            for bad in forbidden_includes(name, (ROOT / name).read_text())]


def the_include_check_finds_a_forbidden_include():
    """A check must be able to fail."""
    cases = [("userspace/base/x.c", '#include "http/head.h"\n', 1),
             ("userspace/splice/x.c", '#include "proxy/conn.h"\n', 1),
             ("userspace/splice/x.c", '#include "transport/transport.h"\n', 0),
             ("userspace/splice/x.c", '#include "transport/socket.h"\n', 1),
             ("userspace/proxy/x.c", '#include "splice/copy.h"\n', 1),
             ("bpf/x.bpf.c", '#include <bpf/bpf_helpers.h>\n#include "sluice/flow.h"\n', 0),
             ("userspace/http/x.c", '#include <sys/types.h>\n#include "x.h"\n', 0)]
    return [f"{name}: {text!r}" for name, text, n in cases
            if len(list(forbidden_includes(name, text))) != n]


def c_sources_are_formatted():
    names = sources(".c", ".h")
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *names], cwd=ROOT,
                          capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if "error:" in line][:40]


def files_are_no_longer_than_they_may_be():
    return [f"{n}: {lines} lines" for n in sources(".c", ".h", ".py")
            if (lines := (ROOT / n).read_text().count("\n")) > FILE_LINES_MAX]


def functions_are_no_longer_than_they_may_be():
    bad = []
    for name in sources(".c", ".h"):
        start = None
        for i, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            if line == "{":
                start = i
            elif line == "}" and start:
                if i - start > FUNCTION_LINES_MAX:
                    bad.append(f"{name}:{start}: {i - start} lines")
                start = None
    return bad


def every_source_names_its_license():
    return [n for n in sources(".c", ".h", ".py", "meson.build")
            if not re.search("SPDX-License-Identifier: .*BSD-2-Clause", (ROOT / n).read_text()[:200])]


def scripts_parse():
    bad = []
    for name in sources(".py"):
        try:
            ast.parse((ROOT / name).read_text(), name)
        except SyntaxError as e:
            bad.append(str(e))
    for path in [p for p in (ROOT / "scripts").iterdir() if p.is_file()] + [ROOT / ".ci" / "run"]:
        if path.read_bytes().startswith(b"#!/bin/bash"):
            done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
            bad += done.stderr.splitlines()
    return bad


def main():
    checks = [rooms_include_only_what_they_may, the_include_check_finds_a_forbidden_include,
              c_sources_are_formatted, files_are_no_longer_than_they_may_be,
              functions_are_no_longer_than_they_may_be, every_source_names_its_license,
              scripts_parse, docs.links_in_documents_lead_somewhere,
              docs.the_keys_in_the_document_are_those_of_the_parser,
              docs.the_checks_of_documents_find_what_is_wrong]
    failed = 0
    print(f"1..{len(checks)}")
    for i, check in enumerate(checks, 1):
        bad = check()
        failed += bool(bad)
        print(f"{'not ok' if bad else 'ok'} {i} - {check.__name__.replace('_', ' ')}")
        for line in bad:
            print(f"# {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
