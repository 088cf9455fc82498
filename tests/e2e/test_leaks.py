#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Memory that a sluice loses fails the suite that ran it: leaks are looked for at the end of every sluice of a
sanitizer build. (Not of those under `seccomp`, whose filter forbids ptrace(2): test_confine runs these.)"""

import shutil
import subprocess
import sys
from pathlib import Path

from lab import Lab, Skip, Suite, check, equal
from lab.sluice import binary

suite = Suite()

# Part of the program from its start on, as if it had been linked.
LOSES = """#include <stdlib.h>
__attribute__((constructor)) static void lose(void)
{
	void *volatile lost;

	for (int i = 0; i < 8; i++)
		lost = malloc(1000);
	lost = NULL;
}
"""


class Empty:
    """The tests start their own."""

    def __enter__(self):
        if b"__asan_init" not in Path(binary()).read_bytes():
            raise Skip("sluice was built without AddressSanitizer")
        return self

    def __exit__(self, *_):
        pass


def serve(lab):
    equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status")


@suite.test()
def every_sluice_of_the_suites_looks_for_leaks(_):
    with Lab() as lab:
        variables = Path(f"/proc/{lab.sluice.process.pid}/environ").read_bytes().split(b"\\0")
        options = b":".join(v for v in variables if v.startswith((b"ASAN_OPTIONS=", b"LSAN_OPTIONS=")))
        check(b"detect_leaks=0" not in options and b"suppressions" not in options, lambda: f"{options}")
        serve(lab)
        lab.sluice.stop()
        check("LeakSanitizer" not in lab.sluice.tell(), lab.sluice.tell())


@suite.test()
def a_lost_allocation_fails_the_suite(_):
    if not shutil.which("cc"):
        raise Skip("there is no cc")
    with Lab(start=False) as lab:
        library = lab.sluice.dir / "loses.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", library], input=LOSES, text=True, check=True)
        lab.sluice.prefix = ["env", f"LD_PRELOAD={library}",
                             "ASAN_OPTIONS=detect_leaks=1:verify_asan_link_order=0"]
        lab.sluice.start()
        serve(lab)
        try:
            lab.sluice.stop()
        except AssertionError as e:
            check("LeakSanitizer" in str(e) and "loses.so" in str(e), str(e))
        else:
            raise AssertionError("nobody noticed")


if __name__ == "__main__":
    sys.exit(suite.main(Empty))
