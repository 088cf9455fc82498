#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What is written for users is whole: the manual pages tell every command, option and key of the configuration,
and bash completes them, with the names that a running sluice has."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import SERVER, Suite, check, equal
from lab.reverse import Reverse
from lab.sluice import binary

suite = Suite()
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/man/sluice.1").read_text()
COMPLETION = ROOT / "scripts/packaging/bash-completion/sluice"
# A key is a row of a table in the reader of the configuration.
KEY = re.compile(r'\{?(?:READ_[A-Z]+|SL_YAML_FIELD)\(\s*"([a-z_]+)"|\bTIMEOUT\(([a-z]+),')


def told(*words):
    done = subprocess.run([binary(), *words], capture_output=True, text=True, check=True)
    return done.stdout


def commands():
    found = re.findall(r"^  ([a-z][a-z-]*) ", told("--help"), re.MULTILINE)
    check(len(found) > 15 and "run" in found, lambda: f"commands: {found}")
    return [c for c in found if c != "help"]


def options(command):
    return sorted(set(re.findall(r"(?<![a-z-])--[a-z][a-z-]*", told("help", command))))


class Manual(Reverse):
    def __init__(self):
        super().__init__([{"host": "app.test", "upstream": "app"}],
                         [{"name": "app", "servers": [f"{SERVER}:80", f"{SERVER}:81"]}])
        self.bin = tempfile.TemporaryDirectory()
        os.symlink(binary(), Path(self.bin.name, "sluice"))

    def complete(self, line):
        """What bash would offer for the last word, which it takes to begin behind a space, '=' or ':'."""
        script = f'source {COMPLETION}; COMP_LINE=$1 COMP_POINT=${{#1}}; _sluice; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True,
                              cwd=self.bin.name, env={**os.environ, "SLUICE_ADMIN": str(self.sluice.admin),
                                                      "PATH": f"{self.bin.name}:{os.environ['PATH']}"})
        equal(done.stderr, "", f"complaints at {line!r}")
        return done.stdout.split()


@suite.test()
def the_manual_page_has_every_command_and_option(_):
    for command in commands():
        check(re.search(rf"^\.It Cm {command}\b", PAGE, re.MULTILINE), f"sluice(1) lacks {command}")
        for option in options(command):
            check(re.search(rf"(?<![a-z-]){option[1:]}(?![a-z-])", PAGE),
                  f"sluice(1) lacks {option} of {command}")


@suite.test()
def the_configurations_page_has_every_key(_):
    text = (ROOT / "docs/sluice.yaml.md").read_text()
    sources = "".join(p.read_text() for p in (ROOT / "userspace/proxy/config").glob("*.c"))
    keys = {a or b for a, b in KEY.findall(sources)}
    check(len(keys) > 90, lambda: f"only these keys were found: {sorted(keys)}")
    lacks = [k for k in sorted(keys) if not re.search(rf"[`{{., ]{k}[`:}}.,]", text)]
    equal(lacks, [], "keys that sluice.yaml(5) lacks")


@suite.test(timeout=60)
def bash_completes_commands_and_options(lab):
    wanted = set(commands()) | {"help"}
    equal(set(lab.complete("sluice ")), wanted | {"--help", "--version"}, "behind sluice")
    equal(lab.complete("sluice relo"), ["reload"], "a word begun")
    equal(set(lab.complete("sluice help ")), wanted, "behind help")
    for command in commands():
        lacks = set(options(command)) - set(lab.complete(f"sluice {command} --"))
        equal(lacks, set(), f"options of {command} that are not offered")


@suite.test(timeout=60)
def bash_completes_values(lab):
    for line, wanted in (
            ("sluice flows --engine ", ["copy", "sockmap", "packet", "dpdk"]),
            ("sluice flows --json --engine=so", ["sockmap"]),
            ("sluice flows --sort from", ["from-client", "from-upstream"]),
            ("sluice load --hook xdp", ["xdp", "xdp-generic"]),
            ("sluice load --dev l", ["lo"]),
            ("sluice log-level w", ["warning"]),
            ("sluice log c", ["cat"]),
            ("sluice log cat --format c", ["clf"]),
            ("sluice flows --min-age ", []),
            ("sluice flows --watch --sor", ["--sort"]),
            ("sluice drain l", ["listener"])):
        equal(lab.complete(line), wanted, line)
    check("sluice" in lab.complete("sluice check -c "), "files")
    check("sluice" in lab.complete("sluice log cat "), "files")


@suite.test(timeout=60)
def bash_completes_names_of_the_running_sluice(lab):
    equal(lab.complete("sluice drain listener "), ["web"], "listeners")
    equal(lab.complete("sluice flows --listener=w"), ["web"], "listeners")
    equal(lab.complete("sluice drain server "), [f"app/{SERVER}:80", f"app/{SERVER}:81"], "servers")
    equal(lab.complete(f"sluice enable server app/{SERVER}:"), ["80", "81"], "what is behind the colon")
    equal(lab.complete("sluice drain --admin /nowhere listener "), [], "names of a sluice that is not there")


if __name__ == "__main__":
    sys.exit(suite.main(Manual))
