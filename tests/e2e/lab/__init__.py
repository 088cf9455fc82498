# SPDX-License-Identifier: BSD-2-Clause
"""The laboratory of the end-to-end suites: network namespaces, a running sluice, scripted origins and
raw-socket conversations. Standard library only.

    client 10.1.0.2 ------- 10.1.0.1  proxy  10.2.0.1 ------- 10.2.0.2  server
           fd00:1::2        fd00:1::1        fd00:2::1        fd00:2::2

Nothing of it outlives the test program: the namespaces have no names and end with the last process
in them, and every child process is killed by the kernel when its parent dies."""

from lab.bpffs import Bpffs
from lab.net import Namespace, Topology, until
from lab.origin import Origin, answers
from lab.place import FreshPlace, Place, Places
from lab.sluice import Sluice
from lab.suite import Fresh, Skip, Suite, check, equal
from lab.wire import Ended, Wire

CLIENT, PROXY_C, PROXY_S, SERVER = "10.1.0.2", "10.1.0.1", "10.2.0.1", "10.2.0.2"


class Lab:
    """What most suites need: the topology, an origin on port 80 of the server, and a sluice that has
    to end well."""

    def __init__(self, config=None, **options):
        self.net = Topology()
        self.origin = Origin(self.net.server, SERVER, 80)
        self.sluice = Sluice(self.net, config, **options)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.sluice.stop()
        finally:
            self.sluice.discard()

    def tell(self):
        return self.sluice.tell()
