/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks /status.json every two seconds and draws what changed. Texts of strangers (targets, reasons) only
 * ever become text nodes. Without two answers of one process there is no rate: then "-" stands there. */
"use strict";

(() => {
	const EVERY_MS = 2000, KEPT = 91, SHOWN = 31; /* answers: three minutes, at least one minute wide */
	const STEADY = 5; /* answers: what tunnels carry is counted every few seconds */
	const WIDTH = 320, HEIGHT = 120, LEFT = 4, TOP = 14, BOTTOM = 104;
	const SVG = "http://www.w3.org/2000/svg";
	const at = (id) => document.getElementById(id);
	let history = []; /* answers: the latest is last */

	/* --- figures --- */

	const last = () => history[history.length - 1];
	const before = () => history[history.length - 2];
	const seconds = (a, b) => (b.stats.uptime_ms - a.stats.uptime_ms) / 1000;

	/* The growth of what `of` takes out of an answer, a second; null: not known. */
	function rate(a, b, of) {
		if (!a || !b || seconds(a, b) <= 0)
			return null;
		const from = of(a), to = of(b);
		if (from === undefined || to === undefined || to < from)
			return null;
		return (to - from) / seconds(a, b);
	}

	const counter = (name) => (answer) => answer.stats.counters[name];
	const sum = (names) => (answer) => names.reduce((n, name) => n + (answer.stats.counters[name] || 0), 0);

	/* The p-th part of the samples that came between two answers, in microseconds; null: there were none. */
	function percentile(a, b, name, p) {
		const old = new Map(a.stats.histograms[name].buckets);
		const fresh = b.stats.histograms[name].buckets
			.map(([top, n]) => [top, n - (old.get(top) || 0)]).filter(([, n]) => n > 0);
		const all = fresh.reduce((n, [, m]) => n + m, 0);
		let seen = 0;
		for (const [top, n] of fresh) {
			seen += n;
			if (seen >= Math.max(1, Math.round(all * p)))
				return top;
		}
		return null;
	}

	/* The same rate, but since some answers before. */
	const steady = (of) => (a, b, i) => rate(history[Math.max(0, i - STEADY)], b, of);
	const between = (of) => (a, b) => (a && seconds(a, b) > 0 ? of(a, b) : null);
	const busy = (answer) => answer.stats.workers.reduce((us, w) => us + w.busy_us, 0);

	/* --- words --- */

	function short(n) {
		if (n === null)
			return "-";
		if (n >= 1e4)
			return n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : (n / 1e3).toFixed(1) + "k";
		return n >= 10 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1);
	}

	function bytes(n) {
		if (n === null)
			return "-";
		const units = ["B", "KiB", "MiB", "GiB", "TiB"];
		let i = 0;
		for (; n >= 1023.95 && i + 1 < units.length; i++)
			n /= 1024;
		return n.toFixed(i ? 1 : 0) + " " + units[i];
	}

	function time(us) {
		if (us === null)
			return "-";
		if (us < 1000)
			return us.toFixed(0) + " µs";
		return us < 1e6 ? (us / 1e3).toFixed(us < 1e5 ? 2 : 0) + " ms" : (us / 1e6).toFixed(2) + " s";
	}

	function age(ms) {
		const s = Math.floor(ms / 1000), two = (n) => String(n).padStart(2, "0");
		if (s < 60)
			return s + "s";
		if (s < 3600)
			return Math.floor(s / 60) + "m" + two(s % 60) + "s";
		if (s < 86400)
			return Math.floor(s / 3600) + "h" + two(Math.floor(s / 60) % 60) + "m";
		return Math.floor(s / 86400) + "d" + two(Math.floor(s / 3600) % 24) + "h";
	}

	const percent = (n) => (n === null ? "-" : n.toFixed(1) + " %");
	const perSecond = (n) => (n === null ? "-" : short(n) + "/s");
	const bytesPerSecond = (n) => (n === null ? "-" : bytes(n) + "/s");

	/* --- charts --- */

	const REFUSALS = ["refused_limit_total", "refused_listener_total", "refused_source_total",
		"refused_memory_total", "requests_bad_total", "requests_denied_total", "requests_auth_total",
		"requests_rate_total", "requests_concurrent_total", "upstream_queue_full_total",
		"upstream_queue_timeouts_total", "proxy_headers_bad_total", "hellos_refused_total"];

	const CHARTS = [
		{id: "requests", title: "Requests", write: perSecond, lines: [
			["requests", (a, b) => rate(a, b, counter("requests_total"))],
			["5xx", (a, b) => rate(a, b, counter("responses_5xx_total"))]]},
		{id: "connections", title: "Connections", write: short, lines: [
			["open", (a, b) => b.stats.gauges.connections_active],
			["tunnels", (a, b) => b.stats.gauges.tunnels_active]]},
		{id: "bytes", title: "Bytes of clients, mean of 10 s", write: bytesPerSecond, lines: [
			["in", steady(counter("client_bytes_in_total"))],
			["out", steady(counter("client_bytes_out_total"))]]},
		{id: "latency", title: "Request time", write: time, lines: [
			["p50", between((a, b) => percentile(a, b, "request_duration", 0.5))],
			["p99", between((a, b) => percentile(a, b, "request_duration", 0.99))]]},
		{id: "busy", title: "Workers busy", write: percent, most: 100, lines: [
			["of their time", (a, b) => {
				const us = rate(a, b, busy);
				return us === null ? null : us / 1e4 / b.stats.workers.length;
			}]]},
		{id: "refused", title: "Refused and timed out", write: perSecond, lines: [
			["refused", (a, b) => rate(a, b, sum(REFUSALS))],
			["timed out", (a, b) => rate(a, b, (answer) => Object.entries(answer.stats.counters)
				.reduce((n, [name, m]) => n + (name.startsWith("timeouts_") ? m : 0), 0))]]},
	];

	function make(name, parent, text, kind) {
		const element = document.createElement(name);
		if (kind)
			element.className = kind;
		if (text !== undefined)
			element.textContent = text;
		parent.append(element);
		return element;
	}

	function draw(name, parent, attributes) {
		const element = document.createElementNS(SVG, name);
		for (const [key, value] of Object.entries(attributes))
			element.setAttribute(key, value);
		parent.append(element);
		return element;
	}

	function makeChart(chart) {
		const figure = make("figure", at("charts"));
		const caption = make("figcaption", figure);
		figure.id = "chart-" + chart.id;
		make("span", caption, chart.title);
		const legend = make("ul", caption, undefined, "legend");
		chart.values = chart.lines.map(([name], i) => {
			const item = make("li", legend, name + " ", i ? "two" : "one");
			return make("b", item, "-");
		});
		chart.svg = draw("svg", figure, {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
			preserveAspectRatio: "none", "aria-label": chart.title});
		for (const y of [TOP, (TOP + BOTTOM) / 2, BOTTOM])
			draw("line", chart.svg, {class: "grid", x1: LEFT, x2: WIDTH - LEFT, y1: y, y2: y});
		chart.area = draw("path", chart.svg, {class: "fill"});
		chart.paths = chart.lines.map((_, i) => draw("path", chart.svg, {class: i ? "two" : "one",
			"vector-effect": "non-scaling-stroke"}));
		const scale = make("div", figure, undefined, "scale");
		chart.span = make("span", scale, "");
		chart.top = make("span", scale, "");
	}

	/* The least of 1, 2, 5, 10, ... that is not below n. */
	function ceiling(n) {
		const power = 10 ** Math.floor(Math.log10(n));
		return [1, 2, 5, 10].map((m) => m * power).find((m) => m >= n * 0.999);
	}

	function outline(values, most) {
		const width = (WIDTH - 2 * LEFT) / (Math.max(values.length, SHOWN) - 1);
		const x = (i) => WIDTH - LEFT - (values.length - 1 - i) * width;
		const y = (n) => BOTTOM - n / most * (BOTTOM - TOP);
		let path = "", pen = "M";
		values.forEach((n, i) => {
			if (n === null) {
				pen = "M";
				return;
			}
			path += `${pen}${x(i).toFixed(1)} ${y(n).toFixed(1)}`;
			pen = "L";
		});
		return path;
	}

	function area(path) {
		const points = path.split(/[ML]/).filter(Boolean).map((p) => p.split(" "));
		if (points.length < 2 || path.lastIndexOf("M") > 0)
			return "";
		return `${path}L${points[points.length - 1][0]} ${BOTTOM}L${points[0][0]} ${BOTTOM}Z`;
	}

	function drawChart(chart) {
		const series = chart.lines.map(([, of]) => history.slice(1).map((b, i) => of(history[i], b, i + 1)));
		const largest = Math.max(0, ...series.flat().filter((n) => n !== null));
		const most = chart.most || ceiling(Math.max(largest, 1e-9)) || 1;
		const now = series.map((values) => (values.length ? values[values.length - 1] : null));
		const shown = now.map((n) => chart.write(n));
		const span = history.length > 1 ? seconds(history[0], last()) : 0;

		series.forEach((values, i) => {
			chart.values[i].textContent = shown[i];
			chart.paths[i].setAttribute("d", outline(values, largest || chart.most ? most : 1));
		});
		chart.area.setAttribute("d", area(chart.paths[0].getAttribute("d")));
		chart.span.textContent = "last " + age(span * 1000);
		chart.top.textContent = largest || chart.most ? "top line " + chart.write(most) : "";
		chart.svg.setAttribute("aria-label", chart.title + " of the last " + age(span * 1000) + ", now: " +
			chart.lines.map(([name], i) => name + " " + shown[i]).join(", "));
	}

	/* --- tables --- */

	function serversWithRates() {
		const old = new Map((before() ? before().servers : []).map((s) => [s.upstream + " " + s.server, s]));
		return last().servers.map((s) => {
			const was = old.get(s.upstream + " " + s.server);
			const grown = was && s.requests >= was.requests && seconds(before(), last()) > 0;
			return [s.upstream, s.server, s.state, s.leased, s.idle,
				perSecond(grown ? (s.requests - was.requests) / seconds(before(), last()) : null),
				s.failures, s.why || "-"];
		});
	}

	function listeners() {
		const old = new Map((before() ? before().listeners : []).map((l) => [l.listener, l]));
		return last().listeners.map((l) => {
			const grown = (key) => perSecond(old.has(l.listener) ?
				rate(before(), last(), (a) => (a === last() ? l : old.get(l.listener))[key]) : null);
			return [l.listener, l.mode, l.listen, l.state, l.connections + (l.limit ? "/" + l.limit : ""),
				grown("accepted"), grown("requests"), grown("refused"), short(l.refused)];
		});
	}

	function talkers() {
		if (!last().flows)
			return [];
		const old = new Map((before() && before().flows ? before().flows.flows : []).map((f) => [f.id, f]));
		return last().flows.flows.map((f) => {
			const was = old.get(f.id), ms = was ? f.age_ms - was.age_ms : 0;
			const speed = (key) => (ms > 0 && f[key] >= was[key] ? (f[key] - was[key]) * 1000 / ms : null);
			return {f, from: speed("bytes_from_client"), to: speed("bytes_from_upstream")};
		}).sort((x, y) => (y.from + y.to) - (x.from + x.to)).slice(0, 12).map(({f, from, to}) =>
			[f.target, f.client, age(f.age_ms), bytesPerSecond(from), bytesPerSecond(to), f.engine]);
	}

	function refusals() {
		return Object.entries(last().stats.counters).filter(([name, n]) => n &&
			(REFUSALS.includes(name) || name.startsWith("timeouts_"))).map(([name, n]) =>
			[name.replace(/_total$/, "").replaceAll("_", " "), perSecond(rate(before(), last(), counter(name))), short(n)]);
	}

	/* How full the maps of an engine are; it may have none. */
	function fullness(engine) {
		const figures = last().stats.figures, map = engine === "packet" ? "pairs" : engine;
		const limit = figures.map_limit && figures.map_limit[map];
		return limit ? percent(100 * figures.map_used[map] / limit) : "-";
	}

	function engines() {
		const of = (i, key) => (answer) => answer.stats.engines[i] && answer.stats.engines[i][key];
		return last().stats.engines.map((e, i) => [e.name, e.active,
			perSecond(rate(before(), last(), of(i, "joined"))),
			bytesPerSecond(rate(before(), last(), of(i, "bytes_from_client"))),
			bytesPerSecond(rate(before(), last(), of(i, "bytes_from_upstream"))),
			fullness(e.name), e.available ? "available" : e.reason]);
	}

	/* A heading that begins with # is of numbers. */
	const TABLES = [
		{id: "engines", title: "Engines", none: "no engine", rows: engines,
			heads: ["Engine", "#Pairs", "#Joined", "#From clients", "#From upstreams", "#Full", "State"]},
		{id: "servers", title: "Servers", none: "no upstreams are configured", rows: serversWithRates,
			heads: ["Upstream", "Server", "State", "#In use", "#Idle", "#Requests", "#Failures", "Why"]},
		{id: "listeners", title: "Listeners", none: "no listeners", rows: listeners,
			heads: ["Listener", "Mode", "Address", "State", "#Connections", "#Accepted", "#Requests", "#Refused",
				"#In all"]},
		{id: "pools", title: "Pools", none: "no upstreams are configured",
			rows: () => last().pools.map((p) => [p.upstream, p.waiting, p.queue, short(p.waits),
				short(p.queue_full), short(p.queue_timeouts)]),
			heads: ["Upstream", "#Waiting", "#Queue", "#Waited", "#Refused", "#Gave up"]},
		{id: "talkers", title: "Top talkers", rows: talkers, none: "no tunnels",
			heads: ["Target", "Client", "#Age", "#From client", "#From upstream", "Engine"]},
		{id: "refusals", title: "Refused and timed out", rows: refusals, none: "nothing since the start",
			heads: ["Reason", "#Now", "#Since the start"]},
	];

	function makeTable(table) {
		const box = make("div", at("tables"), undefined, "table");
		box.id = "table-" + table.id;
		box.tabIndex = 0; /* so that the keyboard can scroll it */
		box.setAttribute("role", "region");
		box.setAttribute("aria-label", table.title);
		const grid = make("table", box);
		make("caption", grid, table.title);
		const row = make("tr", make("thead", grid));
		for (const head of table.heads) {
			const cell = make("th", row, head.replace("#", ""), head[0] === "#" ? "number" : "");
			cell.scope = "col";
		}
		table.body = make("tbody", grid);
	}

	function color(text) {
		if (["up", "available"].includes(text))
			return "good";
		return ["down", "ejected", "drained", "draining"].includes(text) ? "bad" : "";
	}

	function drawTable(table) {
		const rows = table.rows(), body = document.createElement("tbody");
		const hidden = table.id === "talkers" && !last().flows;
		for (const cells of rows) {
			const row = make("tr", body);
			cells.forEach((text, i) =>
				make("td", row, String(text), table.heads[i][0] === "#" ? "number" : color(text)));
		}
		if (!rows.length) {
			const cell = make("td", make("tr", body), hidden ?
				"only shown where the metrics address is a loopback address" : table.none, "none");
			cell.colSpan = table.heads.length;
		}
		table.body.replaceWith(body);
		table.body = body;
	}

	/* --- the head of the page --- */

	function drawHead() {
		const s = last().stats, list = at("facts"), cpu = rate(before(), last(), (a) => a.stats.process.cpu_us);
		const facts = [["up", age(s.uptime_ms)], ["workers", s.workers.length],
			["CPU", cpu === null ? "-" : percent(cpu / 1e4)], ["memory", bytes(s.process.resident_bytes)],
			["descriptors", s.process.open_fds + " of " + s.process.max_fds]];
		at("version").textContent = s.version;
		at("state").textContent = s.ready ? "ready" : "not ready";
		at("state").className = "badge " + (s.ready ? "good" : "bad");
		list.replaceChildren();
		for (const [name, value] of facts) {
			const pair = make("div", list);
			make("dt", pair, name);
			make("dd", pair, String(value));
		}
	}

	function complain(text) {
		const problem = at("problem");
		problem.hidden = !text;
		if (problem.textContent !== text)
			problem.textContent = text;
	}

	/* --- rounds --- */

	function take(answer) {
		if (last() && answer.stats.uptime_ms < last().stats.uptime_ms)
			history = []; /* another process */
		if (last() && answer.stats.uptime_ms === last().stats.uptime_ms)
			return;
		history.push(answer);
		history = history.slice(-KEPT);
		drawHead();
		CHARTS.forEach(drawChart);
		TABLES.forEach(drawTable);
	}

	async function round() {
		try {
			const answer = await fetch("/status.json", {cache: "no-store", signal: AbortSignal.timeout(5000)});
			if (!answer.ok)
				throw new Error("status " + answer.status);
			take(await answer.json());
			complain("");
		} catch (e) {
			complain("sluice does not answer; the figures below are old. (" + e.message + ")");
			at("state").textContent = "no answer";
			at("state").className = "badge bad";
		}
		setTimeout(round, EVERY_MS);
	}

	CHARTS.forEach(makeChart);
	TABLES.forEach(makeTable);
	round();
})();
