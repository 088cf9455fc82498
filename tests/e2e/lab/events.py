# SPDX-License-Identifier: BSD-2-Clause
"""Takes events out of the packet engine's ring buffer, so that sluice never sees them: run in the mount
namespace of the pins, while sluice is stopped. Prints how many there were."""

import ctypes
import sys

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def main(folder):
    bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    bpf.ring_buffer__new.restype = ctypes.c_void_p
    bpf.ring_buffer__new.argtypes = [ctypes.c_int, CALLBACK, ctypes.c_void_p, ctypes.c_void_p]
    bpf.ring_buffer__consume.argtypes = [ctypes.c_void_p]
    drop = CALLBACK(lambda *_: 0)  # libbpf holds no reference to it
    fd = bpf.bpf_obj_get(f"{folder}/events".encode())
    ring = bpf.ring_buffer__new(fd, drop, None, None) if fd >= 0 else None
    if not ring:
        sys.exit(f"the events can't be opened: errno {ctypes.get_errno()}")
    print(bpf.ring_buffer__consume(ring))


if __name__ == "__main__":
    main("/sys/fs/bpf/sluice")
