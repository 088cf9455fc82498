#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prometheus's own tools read the metrics, the alert rules and the dashboard; every name that rules and
dashboard ask for exists; every alert fires when it should and is silent when all is well."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import SERVER, Skip, Suite, answers, check, equal, until
from lab.origin import OK
from lab.reverse import Reverse, ask

suite = Suite()
DOCS = Path(__file__).resolve().parents[2] / "docs"
ALERTS = DOCS / "alerts.yml"

ROUTES = [{"host": "app.test", "path": "/v1", "upstream": "app"}, {"host": "gone.test", "upstream": "gone"}]
UPSTREAMS = [{"name": "app", "servers": [f"{SERVER}:80"]}, {"name": "gone", "servers": [f"{SERVER}:9"]}]


class Scraped(Reverse):
    def __init__(self):
        super().__init__(ROUTES, UPSTREAMS)

    def metrics(self):
        """Samples by name with labels."""
        body = self.sluice.http_get("/metrics").decode().split("\r\n\r\n", 1)[1]
        return body, dict(line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))


def promtool(*arguments, stdin=None):
    if not shutil.which("promtool"):
        raise Skip("there is no promtool (package prometheus)")
    return subprocess.run(["promtool", *map(str, arguments)], input=stdin, capture_output=True,
                          text=True, timeout=60)


def passes(done, what):
    equal(done.returncode, 0, f"{what}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def get(lab, path, host):
    with lab.sluice.connect() as wire:
        return wire.send(ask(path, host)).response().status


@suite.test()
def promtool_likes_the_metrics(lab):
    lab.reset(first=answers(OK))
    equal(get(lab, b"/v1/x", b"app.test"), 200, "status")
    body, _ = lab.metrics()
    done = promtool("check", "metrics", stdin=body)
    passes(done, "promtool check metrics")
    equal(done.stdout + done.stderr, "", "what it remarks")


@suite.test()
def requests_are_counted_by_route_and_upstream(lab):
    lab.reset(first=answers(OK))
    name = 'sluice_{}_responses_total{{{},class="{}"}}'.format
    app = ('upstream', 'upstream="app"', "2xx"), ('route', 'listener="web",route="app.test/v1"', "2xx")
    gone = ('upstream', 'upstream="gone"', "5xx"), ('route', 'listener="web",route="gone.test"', "5xx")
    _, before = lab.metrics()
    for _ in range(3):
        equal(get(lab, b"/v1/x", b"app.test"), 200, "status")
    equal(get(lab, b"/", b"gone.test"), 502, "status")
    equal(get(lab, b"/", b"nowhere.test"), 404, "status")
    until(lambda: lab.sluice.stats()["connections_active"] == 0, what="all are done")
    _, after = lab.metrics()
    for labels, n in ((app, 3), (gone, 1)):
        for one in labels:
            grown = int(after[name(*one)]) - int(before.get(name(*one), 0))
            equal(grown, n, name(*one))
    equal(after['sluice_ended_total{reason="no-route"}'], "1", "ends by reason")
    for what in ("accepted", "requests"):
        of_listener = f'sluice_listener_{what}_total{{listener="web"}}'
        equal(int(after[of_listener]) - int(before[of_listener]), 5, of_listener)
    equal(after['sluice_route_responses_total{listener="web",route="*",class="4xx"}'], "1", "no route")
    count = 'sluice_upstream_first_byte_seconds_count{upstream="app"}'
    equal(int(after[count]) - int(before.get(count, 0)), 3, count)


@suite.test()
def refusals_of_all_listeners_add_up_to_those_of_sluice(lab):
    lab.reset(first=answers(OK))
    equal(get(lab, b"/v1/../x", b"app.test"), 400, "status")
    with lab.sluice.connect() as wire:
        equal(wire.send(b"nonsense\r\n\r\n").response().status, 400, "status")
    _, m = lab.metrics()
    globally = {"proxy-header": "proxy_headers_bad", "hello": "hellos_refused",
                **{r: f"refused_{r}" for r in ("limit", "listener", "source", "memory")},
                **{r: f"requests_{r}" for r in ("bad", "denied", "auth", "rate", "concurrent")}}
    told = {r: m[f'sluice_listener_refused_total{{listener="web",reason="{r}"}}'] for r in globally}
    equal(told, {r: m[f"sluice_{name}_total"] for r, name in globally.items()}, "refusals")
    equal(sum(1 for name in m if name.startswith("sluice_listener_refused_total")), len(told), "reasons")
    check(int(told["bad"]) >= 2, lambda: f"{told}")


def known_metrics():
    """Names that the table has, with those of the series of histograms."""
    names = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.M):
        names |= {name + s for s in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return names


def unknown_names(expressions):
    asked = set(re.findall(r"\b(?:sluice|process)_\w+", " ".join(expressions)))
    return sorted(asked - known_metrics())


def rules():
    """Alerts by name: the text of each, as the file has it."""
    parts = re.split(r"^      - alert: (\w+)\n", ALERTS.read_text(), flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


@suite.test()
def rules_are_rules_and_say_what_to_do(lab):
    passes(promtool("check", "rules", ALERTS), "promtool check rules")
    for name, text in rules().items():
        for key in ("severity", "summary", "runbook"):
            check(re.search(rf"\b{key}: \S", text), f"{name} has no {key}")
    equal(unknown_names([t.split("annotations:")[0] for t in rules().values()]), [], "unknown metrics")


@suite.test()
def the_dashboard_asks_for_what_there_is(lab):
    dashboard = json.loads((DOCS / "grafana" / "sluice.json").read_text())
    panels = [p for p in dashboard["panels"] if p["type"] != "row"]
    expressions = [t["expr"] for p in panels for t in p["targets"]]
    equal(unknown_names(expressions), [], "unknown metrics")
    equal(len({p["id"] for p in dashboard["panels"]}), len(dashboard["panels"]), "ids")
    taken = set()
    for p in dashboard["panels"]:
        check(p["title"] and (p["type"] == "row" or p["description"]), f"panel {p['id']} says nothing")
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        check(not cells & taken and g["x"] + g["w"] <= 24, f"{p['title']} overlaps")
        taken |= cells
    rules = [{"record": f"check:{i}", "expr": e.replace("$__rate_interval", "5m").replace("$instance", ".*")}
             for i, e in enumerate(expressions)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, f)
        f.flush()
        passes(promtool("check", "rules", f.name), "its expressions")


# What a sluice that is well shows, a sample a minute.
WELL = {
    'up{job="sluice"}': "1x60", "sluice_ready": "1x60", "sluice_requests_total": "0+6000x60",
    'process_start_time_seconds{job="sluice"}': "5x60", "sluice_responses_5xx_total": "0+1x60",
    'sluice_upstream_responses_total{upstream="a",class="2xx"}': "0+6000x60",
    'sluice_upstream_responses_total{upstream="a",class="5xx"}': "0+1x60",
    'sluice_server_up{upstream="a",server="1"}': "1x60", 'sluice_server_up{upstream="a",server="2"}': "1x60",
    'sluice_upstream_first_byte_seconds_bucket{upstream="a",le="0.1"}': "0+6000x60",
    'sluice_upstream_first_byte_seconds_bucket{upstream="a",le="5"}': "0+6000x60",
    'sluice_upstream_first_byte_seconds_bucket{upstream="a",le="+Inf"}': "0+6000x60",
    'sluice_pool_refused_total{upstream="a",reason="full"}': "7x60",
    'sluice_pool_refused_total{upstream="a",reason="timeout"}': "7x60",
    'sluice_pool_waits_total{upstream="a"}': "0+10x60",
    'sluice_listener_refused_total{listener="l",reason="listener"}': "9x60",
    'sluice_listener_refused_total{listener="l",reason="source"}': "0+9x60", "sluice_refused_limit_total": "9x60",
    "sluice_refused_memory_total": "9x60", "sluice_accept_pauses_total": "9x60",
    'process_open_fds{job="sluice"}': "100x60", 'process_max_fds{job="sluice"}': "1000x60",
    'sluice_worker_turn_seconds_bucket{le="0.001"}': "0+6000x60",
    'sluice_worker_turn_seconds_bucket{le="0.1"}': "0+6000x60",
    'sluice_worker_turn_seconds_bucket{le="+Inf"}': "0+6000x60",
    'sluice_worker_busy_seconds_total{worker="0"}': "0+20x60", "sluice_log_dropped_total": "3x60",
    "sluice_log_failures_total": "3x60",
    'sluice_map_used{map="pairs"}': "100x60", 'sluice_map_limit{map="pairs"}': "1000x60",
    'sluice_map_used{map="sockmap"}': "0x60", 'sluice_map_limit{map="sockmap"}': "0x60",
    'sluice_engine_available{engine="packet"}': "1x60",
    'sluice_packet_events_total{event="events_lost"}': "0x60", "sluice_resolver_failed_total": "1x60",
    "sluice_resolver_timed_out_total": "1x60", "sluice_resolver_asked_total": "0+60x60",
}
# And what is different when the alert has a reason.
ILL = {
    "SluiceDown": {'up{job="sluice"}': "0x60"},
    "SluiceNotReady": {"sluice_ready": "0x60"},
    "SluiceRestarts": {'process_start_time_seconds{job="sluice"}': "0+180x60"},
    "SluiceErrors": {"sluice_responses_5xx_total": "0+600x60"},
    "SluiceUpstreamErrors": {'sluice_upstream_responses_total{upstream="a",class="5xx"}': "0+1000x60"},
    "SluiceServerDown": {'sluice_server_up{upstream="a",server="2"}': "0x60"},
    "SluiceUpstreamDown": {'sluice_server_up{upstream="a",server="1"}': "0x60",
                           'sluice_server_up{upstream="a",server="2"}': "0x60"},
    "SluiceSlowServers": {'sluice_upstream_first_byte_seconds_bucket{upstream="a",le="0.1"}': "0+100x60"},
    "SluiceQueueRefuses": {'sluice_pool_refused_total{upstream="a",reason="timeout"}': "0+1x60"},
    "SluiceQueueing": {'sluice_pool_waits_total{upstream="a"}': "0+1000x60"},
    "SluiceListenerLimit": {'sluice_listener_refused_total{listener="l",reason="listener"}': "0+1x60"},
    "SluiceConnectionLimit": {"sluice_refused_limit_total": "0+1x60"},
    "SluiceMemoryRefusals": {"sluice_refused_memory_total": "0+1x60"},
    "SluiceDescriptors": {'process_open_fds{job="sluice"}': "900x60"},
    "SluiceAcceptPauses": {"sluice_accept_pauses_total": "0+1x60"},
    "SluiceSlowLoop": {'sluice_worker_turn_seconds_bucket{le="0.001"}': "0+100x60"},
    "SluiceWorkersBusy": {'sluice_worker_busy_seconds_total{worker="0"}': "0+59x60"},
    "SluiceLogDrops": {"sluice_log_dropped_total": "0+1x60"},
    "SluiceLogFails": {"sluice_log_failures_total": "0+1x60"},
    "SluiceMapsFull": {'sluice_map_used{map="pairs"}': "901x60"},
    "SluiceEngineLost": {'sluice_engine_available{engine="packet"}': "1x40 0x20"},
    "SluiceEventsLost": {'sluice_packet_events_total{event="events_lost"}': "0+1x60"},
    "SluiceNamesFail": {"sluice_resolver_failed_total": "0+30x60"},
}


def case(changed, firing):
    """After 55 minutes exactly these alerts fire."""
    series = [{"series": s if "{" in s else s + "{}", "values": v} for s, v in {**WELL, **changed}.items()]
    return {"interval": "1m", "input_series": series, "promql_expr_test": [
        {"expr": f'count by (alertname) (ALERTS{{alertstate="firing"{more}}})', "eval_time": "55m",
         "exp_samples": samples} for more, samples in firing]}


@suite.test()
def every_alert_fires_when_it_should_and_only_then(lab):
    equal(sorted(ILL), sorted(rules()), "alerts that have a case here")
    cases = [case({}, [("", [])])]
    for name, changed in ILL.items():
        cases.append(case(changed, [(f',alertname="{name}"', [
            {"labels": f'{{alertname="{name}"}}', "value": 2 if name == "SluiceServerDown" and
             len(changed) > 1 else 1}])]))
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
        json.dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}, f)
        f.flush()
        passes(promtool("test", "rules", f.name), "promtool test rules")


if __name__ == "__main__":
    sys.exit(suite.main(Scraped))
