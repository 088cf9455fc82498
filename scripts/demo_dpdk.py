# SPDX-License-Identifier: BSD-2-Clause
"""The last act of the demonstration: `transport: dpdk` on two veth devices. The kernel has no address
there; sluice's own loop fetches the frames, lwIP speaks TCP, and a quiet tunnel leaves lwIP, too: its
packets are rewritten where they arrive. No special hardware, no huge pages."""

import time

from demo_tools import DEFAULTS, Failed, echo, rate, say, show, size
from lab import PROXY_C, SERVER, Origin, Skip, Sluice, Topology, until
from lab.nginx import Nginx
from lab.sluice import in_thread
from lab.stream import receive_stream, send_stream

PICTURE = """
   client  10.1.0.2 ──── veth  sluice: DPDK, lwIP  veth ──── 10.2.0.2  server
   curl, a tunnel        10.1.0.1, 10.2.0.1: its own         nginx, echo
"""
PAIRS = 1024  # the table of spliced pairs is out of DPDK's memory, which is small here
TUNNEL_BYTES = 20_000_000
REST_S = 1
# Of the metrics: what each port counted, and what the loop rewrote.
METRICS = "http://127.0.0.1:9145/metrics"
SHOWN = ("sluice_dpdk_port_received_frames_total", "sluice_dpdk_port_sent_frames_total",
         "sluice_dpdk_port_dropped_frames_total", 'sluice_packet_packets_total{reason="sent"}')


class Dpdk:
    def __init__(self, where, results):
        self.done = results.done
        self.net = Topology()
        self.net.leave_to_dpdk()
        self.echo = self.nginx = None
        self.sluice = Sluice(self.net, {**DEFAULTS, "workers": 1, "splice": {"pairs": PAIRS},
                                        **self.net.dpdk_config()}, release=True, start=False)
        try:
            self.nginx = Nginx(self.net.server, SERVER, where)
            self.echo = Origin(self.net.server, SERVER, 7, echo)
            self.sluice.start()
        except BaseException:
            self.discard()
            raise

    def discard(self):
        self.sluice.discard()
        if self.nginx:
            self.nginx.stop()
        if self.echo:
            self.echo.close()

    def command(self, *arguments):
        done = self.sluice.cli(*arguments)
        if done.returncode:
            raise Failed(f"sluice {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.rstrip()

    # --- the acts ---

    def show_devices(self):
        listed = self.net.proxy.run("ip", "-brief", "address", text=True).stdout
        lines = [line.rstrip() for line in listed.splitlines() if line.startswith("to-")]
        if any("10." in line for line in lines):
            raise Failed(f"the kernel has addresses there: {listed}")
        show("ip -brief address, where sluice runs", "\n".join(lines))
        say("   Neither device has an address: the kernel would answer nothing that comes there.\n")

    def fetch(self):
        (self.nginx.files / "hello").write_text("hello over DPDK\n")
        url = f"http://{SERVER}/hello"
        got = self.net.client.run("curl", "-sS", "-m", 20, "--noproxy", "", "-x",
                                  f"http://{PROXY_C}:3128", url, text=True)
        if got.returncode or got.stdout != "hello over DPDK\n":
            raise Failed(f"curl: {got.stdout}{got.stderr}")
        self.done("curl through sluice's own TCP", "content verified")

    def splice(self):
        """A word each way, a quiet moment, and the tunnel is no connection of sluice's any more."""
        with self.sluice.tunnel(SERVER, 7) as wire:
            if wire.send(b"are you there?").exactly(14) != b"are you there?":
                raise Failed("the tunnel does not echo")
            until(lambda: [f["engine"] for f in self.sluice.flows()] == ["dpdk"], 10,
                  "the quiet tunnel is spliced")
            start = time.monotonic()
            sender = in_thread(send_stream, wire.sock, 11, TUNNEL_BYTES)
            receive_stream(wire.sock, 11, TUNNEL_BYTES)
            sender.join(30)
            took = time.monotonic() - start
            show("sluice flows", self.command("flows"))
            say("   ENGINE dpdk: each packet is rewritten in the loop that fetched it, and sent on.\n"
                "   lwIP has forgotten the tunnel; client and server acknowledge each other.\n")
            self.done(f"{size(TUNNEL_BYTES)} each way through the spliced tunnel",
                      f"{rate(2 * TUNNEL_BYTES, took)}, each byte verified")
            self.rest()

    def rest(self):
        before = self.sluice.cpu_seconds()
        time.sleep(REST_S)
        used = self.sluice.cpu_seconds() - before
        if used > REST_S / 4:
            raise Failed(f"{used} s of CPU time in {REST_S} s without traffic")
        self.done("the loop, while nothing comes", f"asleep: {used * 100 / REST_S:.0f} % of a core")

    def count(self):
        text = self.net.proxy.run("curl", "-sS", "-m", 20, "--noproxy", "*", METRICS, text=True).stdout
        show(f"curl {METRICS} (of these)",
             "\n".join(line for line in text.splitlines() if line.startswith(SHOWN)))
        say("   The ports count frames; packet_packets_total are those that never came to lwIP.\n")
        figures = self.sluice.ask("stats")["stats"]["figures"]
        sent = figures["packet_packets_total"]["sent"]
        received = sum(figures["dpdk_port_received_frames_total"].values())
        if not 0 < sent < received:
            raise Failed(f"{received} frames came, {sent} were sent on")
        self.done("frames that came by the two ports",
                  f"{received:,}; {sent * 100 / received:.1f} % were rewritten and sent on")

    def play(self):
        say(PICTURE)
        self.show_devices()
        self.fetch()
        self.splice()
        self.count()
        until(lambda: not self.sluice.flows(), 10, "no flow is left")
        self.sluice.stop()


def play(where, results):
    """A failure tells what sluice said. Where it was built without DPDK, that is all there is to see."""
    (where / "dpdk").mkdir()
    results.act("Without the kernel's TCP: DPDK and lwIP on veth")
    try:
        act = Dpdk(where / "dpdk", results)
    except Skip as reason:
        say(f"  · not shown: {reason} (libdpdk-dev, liblwip-dev)")
        return
    try:
        act.play()
    except BaseException:
        say(act.sluice.tell())
        raise
    finally:
        act.discard()
