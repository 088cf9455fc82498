#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The status page in a browser: its figures are the traffic's, it runs nothing but its own, and it can be
read by everybody, on a phone and in the dark."""

import json
import sys

from lab import SERVER, Lab, Suite, answers, check, equal, until
from lab.browser import Browser
from lab.origin import OK
from lab.reverse import BOTH_MODES

suite = Suite()
ADDRESS = "http://127.0.0.1:9145/"
EVIL = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>'
# The least contrast of all texts that are shown, by WCAG 2: 4.5 is wanted of text of this size.
CONTRAST = """(() => {
	const parts = (c) => c.match(/[\\d.]+/g).map(Number);
	const light = (c) => { const [r, g, b] = parts(c).slice(0, 3).map((v) => {
		v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
		return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const back = (e) => { for (; e; e = e.parentElement) {
		const c = getComputedStyle(e).backgroundColor, p = parts(c);
		if (p.length < 4 || p[3] > 0) return c; } return "rgb(255, 255, 255)"; };
	let least = 99, where = "";
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
		const s = getComputedStyle(e), a = light(s.fill !== "rgb(0, 0, 0)" && e.ownerSVGElement ? s.fill : s.color);
		const b = light(back(e)), c = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (c < least) { least = c; where = e.tagName + "." + e.className + ": " + e.textContent; }
	}
	return [least, where];
})()"""


class StatusLab(Lab):
    def __init__(self):
        super().__init__({"workers": 2, **BOTH_MODES})
        self.browser = None

    def __enter__(self):
        super().__enter__()
        self.browser = Browser(self.net.proxy)
        return self

    def __exit__(self, *how):
        self.browser.close()
        super().__exit__(*how)

    def open(self):
        """The page, once it shows figures. A page that a test before left is gone."""
        page = self.browser
        page.complaints.clear()
        page.open(ADDRESS)
        page.until("location.port === '9145' && document.querySelector('#state')?.textContent === 'ready'")
        return page


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


def cells(page, table):
    return page.run(f"[...document.querySelectorAll('#table-{table} tbody tr')]"
                    ".map(r => [...r.cells].map(c => c.textContent))")


@suite.test(90)
def its_figures_are_those_of_the_traffic(lab):
    lab.origin.reset(answers(OK))
    page = lab.open()
    page.until("document.querySelector('#chart-requests .one b').textContent === '0/s'", what="two answers")
    before = lab.sluice.stats()["requests_total"]
    for _ in range(40):
        equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status")
    equal(lab.sluice.get("http://127.0.0.1/").status, 403, "a refused request")
    rate = page.until("(v => v !== '0/s' && v)(document.querySelector('#chart-requests .one b').textContent)",
                      what="a rate of requests")
    sent = lab.sluice.stats()["requests_total"] - before
    check(float(rate[:-2]) <= sent / 1.5, f"{rate}, with {sent} requests and answers two seconds apart")
    page.until("document.querySelector('#table-refusals').textContent.includes('requests denied')",
               what="the refusal")
    row = cells(page, "listeners")[0]
    equal(row[:4], ["egress", "forward", "0.0.0.0:3128", "up"], "listener")
    equal(cells(page, "servers")[0][:3], ["app", f"{SERVER}:80", "up"], "server")
    label = page.run("document.querySelector('#chart-latency svg').getAttribute('aria-label')")
    check("p50" in label and "p99" in label, label)
    equal(page.complaints, [], "complaints")
    equal({u for u in page.urls if not u.startswith((ADDRESS, "about:"))}, set(), "requests elsewhere")


@suite.test(60)
def a_tunnel_is_among_the_talkers_with_its_rate(lab):
    lab.origin.reset(echo)
    page = lab.open()
    with lab.sluice.tunnel(SERVER, 80) as wire:
        wire.send(b"x" * 5000).exactly(5000)
        client = "%s:%d" % wire.sock.getsockname()
        page.until(f"document.querySelector('#table-talkers').textContent.includes('{client}')",
                   what="the talker")
        equal(cells(page, "talkers")[0][0], f"{SERVER}:80", "target")
        equal(cells(page, "engines")[0][:2], ["copy", "1"], "the engine's pairs")
        page.until("document.querySelectorAll('#table-talkers tbody td')[3].textContent === '0 B/s'",
                   what="a rate, once there are two answers")
        wire.send(b"y" * 100_000).exactly(100_000)
        page.until("(t => /KiB/.test(t) && parseFloat(t) <= 100000 / 1024)"
                   "(document.querySelectorAll('#table-talkers tbody td')[3].textContent)",
                   what="what was sent, a second")


@suite.test(60)
def it_can_be_read_on_a_phone_in_the_dark_and_by_machine(lab):
    page = lab.open()
    page.until("document.querySelector('#chart-requests .one b').textContent !== '-'")
    for scheme, back in (("light", "rgb(244, 246, 248)"), ("dark", "rgb(16, 22, 29)")):
        page.scheme(scheme)
        for width in (1280, 375, 320):
            page.resize(width, 800, width < 500)
            equal(page.run("getComputedStyle(document.body).backgroundColor"), back, f"{scheme} colors")
            wide = page.run("document.documentElement.scrollWidth")
            check(wide <= width, f"{wide} pixels of {width}")
        least, where = page.run(CONTRAST)
        check(least >= 4.5, f"{scheme}: contrast {least:.2f} of {where!r}")
    equal(page.run("[...document.querySelectorAll('svg')].filter(s => s.getAttribute('role') !== 'img' || "
                   "!s.getAttribute('aria-label')).length"), 0, "charts without a label")
    equal(page.run("[...document.querySelectorAll('table')].filter(t => !t.caption).length"), 0,
          "tables without a caption")
    equal(page.run("[...document.querySelectorAll('thead th')].filter(t => t.scope !== 'col').length"), 0,
          "headings that are none")
    equal(page.run("document.documentElement.lang"), "en", "language")


@suite.test(60)
def strings_of_strangers_are_only_text(lab):
    page = lab.open()
    real = json.loads(lab.sluice.http_get("/status.json").split(b"\r\n\r\n", 1)[1])
    count = [0]

    def evil():
        count[0] += 1
        real["stats"]["uptime_ms"] += 2000
        real["stats"]["version"] = EVIL
        real["stats"]["engines"][0]["name"] = EVIL
        real["servers"] = [{"upstream": EVIL, "server": EVIL, "state": "up", "leased": 0, "idle": 0,
                            "requests": 1, "failures": 0, "why": EVIL}]
        real["listeners"][0]["listener"] = EVIL
        real["flows"] = {"flows": [{"id": 1, "target": EVIL, "client": EVIL, "engine": EVIL, "age_ms": 1,
                                    "bytes_from_client": 0, "bytes_from_upstream": 0}]}
        return json.dumps(real).encode()

    before = page.run("document.querySelectorAll('img, script').length")
    page.answer_json_with(evil)
    try:
        page.until("document.querySelector('#table-talkers').textContent.includes('onerror')",
                   what="the strange target")
        equal(page.run("document.querySelectorAll('img, script').length"), before, "elements")
        equal(page.run("document.title"), "sluice", "title")
        equal(page.complaints, [], "complaints")
    finally:
        page.call("Fetch.disable")


@suite.test(90)
def it_says_when_sluice_is_gone_and_goes_on_when_it_is_back(lab):
    page = lab.open()
    lab.sluice.stop()
    page.until("!document.querySelector('#problem').hidden && "
               "document.querySelector('#problem').textContent.includes('does not answer')")
    lab.sluice.start()
    page.until("document.querySelector('#problem').hidden && "
               "document.querySelector('#state').textContent === 'ready'")


@suite.test()
def no_page_from_elsewhere_gets_in(lab):
    for path in ("/", "/status.js", "/status.css", "/status.svg", "/status.json"):
        head = lab.sluice.http_get(path).split(b"\r\n\r\n")[0].decode()
        check(head.startswith("HTTP/1.1 200 "), head)
        check("Content-Security-Policy: default-src 'none'; script-src 'self'; " in head, head)
        check("unsafe" not in head and "frame-ancestors 'none'" in head, head)
        check("X-Content-Type-Options: nosniff" in head, head)


@suite.test()
def pairs_are_for_this_host_alone(lab):
    """By another name than an address or localhost, or at another address than loopback, there are none."""
    lab.origin.reset(echo)
    with lab.sluice.tunnel(SERVER, 80) as wire:
        wire.send(b"x").exactly(1)
        for host, shown in (("127.0.0.1:9145", True), ("localhost", True), ("[::1]:9145", True),
                            ("evil.example", False)):
            with lab.net.proxy.connect("127.0.0.1", 9145, 5) as s:
                s.sendall(f"GET /status.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                data = b""
                while more := s.recv(65536):
                    data += more
            flows = json.loads(data.split(b"\r\n\r\n", 1)[1])["flows"]
            equal(bool(flows), shown, f"pairs, asked as {host}")
    until(lambda: not lab.sluice.flows(), what="the tunnel is gone")
    lab.sluice.stop()
    lab.sluice.config["metrics"] = "10.1.0.1:9145"
    ready, lab.sluice.ready = lab.sluice.ready, lambda: lab.sluice.admin.exists()
    try:
        lab.sluice.start()
        until(lambda: reaches(lab), what="the metrics address")
        with lab.net.client.connect("10.1.0.1", 9145, 5) as s:
            s.sendall(b"GET /status.json HTTP/1.0\r\n\r\n")
            data = b""
            while more := s.recv(65536):
                data += more
        equal(json.loads(data.split(b"\r\n\r\n", 1)[1])["flows"], None, "pairs, at another address")
    finally:
        lab.sluice.stop()
        lab.sluice.config["metrics"] = "127.0.0.1:9145"
        lab.sluice.ready = ready
        lab.sluice.start()


def reaches(lab):
    try:
        lab.net.client.connect("10.1.0.1", 9145, 1).close()
        return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(suite.main(StatusLab))
