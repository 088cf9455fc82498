# SPDX-License-Identifier: BSD-2-Clause
"""Writes the status page's files as C arrays: embed.py OUTPUT FILE..."""

import re
import sys
from pathlib import Path


def array(path):
    data = path.read_bytes()
    name = re.sub(r"\W", "_", path.name)
    rows = [", ".join(map(str, data[i:i + 20])) for i in range(0, len(data), 20)]
    body = ",\n\t".join(rows)
    return (f"static const unsigned char status_{name}[] = {{\n\t{body},\n}};\n")


output, *inputs = sys.argv[1:]
text = "/* SPDX-License-Identifier: BSD-2-Clause */\n/* Made from the files in observe/status. */\n\n"
Path(output).write_text(text + "\n".join(array(Path(i)) for i in inputs))
