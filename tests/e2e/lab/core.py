# SPDX-License-Identifier: BSD-2-Clause
"""What a core dump of a process would hold."""

import re
from pathlib import Path

from lab.suite import check

_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+")


def core(pid):
    """The memory that the process can read and does not keep out of core dumps."""
    parts, region = [], None
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            region = _REGION.match(line) or region
            flags = line.split()[1:] if line.startswith("VmFlags:") else []
            if "rd" not in flags or "dd" in flags or "io" in flags:
                continue
            start, end = (int(region[i], 16) for i in (1, 2))
            memory.seek(start)
            try:
                parts.append(memory.read(end - start))
            except OSError:  # [vvar] and what is behind a file's end
                continue
    check(parts, "no memory could be read")
    return b"".join(parts)
