"use strict";
(async function () {
  const bytes = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = await new Response(stream).json();
  const totals = data.totals[0];
  const SHOWN = 300; // rows of a table
  const colours = ["#3f7fbf", "#e0913a", "#4f9d69", "#b8586f", "#8a73b8", "#8d7a5c", "#c76fae", "#5a9ea6", "#a3a23c", "#7c8794"];

  // --- words
  const duration = (s) => {
    if (s === null || s === undefined) return "";
    if (s === 0) return "0";
    if (s < 1e-3) return `${+(1e6 * s).toPrecision(2)} µs`;
    if (s < 0.1) return `${+(1e3 * s).toPrecision(2)} ms`;
    if (s < 120) return `${s.toPrecision(3)} s`;
    if (s < 7200) return `${(s / 60).toFixed(1)} min`;
    return s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${(s / 86400).toFixed(1)} d`;
  };
  const tick = (s) => duration(s).replace(/\.0+ /, " ");
  const size = (b) => {
    if (!b) return "";
    for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
      if (b < 1000 || unit === "TB") return `${unit === "B" ? b : b.toFixed(1)} ${unit}`;
      b /= 1000;
    }
  };
  const share = (v) => (v === null || v === undefined ? "" : `${(100 * v).toFixed(1)} %`);
  const count = (v) => (v === null || v === undefined ? "" : v.toLocaleString("en"));
  const element = (tag, text, parent, name) => {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    if (name) made.className = name;
    if (parent) parent.append(made);
    return made;
  };
  const at = (id) => document.getElementById(id);
  const legend = (parent, text, colour) => {
    const entry = element("span", null, parent);
    element("i", "", entry).style.background = colour;
    entry.append(text);
  };

  // --- head
  const began = new Date(1000 * totals.began_wall_s);
  at("title").textContent = `${totals.label}, ${began.toLocaleString("en-GB")}, ${duration(totals.duration_s)}`;
  at("end").textContent = totals.is_complete ? `It ended: ${totals.end}.` : `${totals.end}.`;
  for (const [name, value] of [
    ["calls", count(totals.calls)], ["calls per second", totals.calls_per_s === null ? "" : count(+totals.calls_per_s.toPrecision(3))],
    ["raised, failed, cancelled", `${totals.raised}, ${totals.failed}, ${totals.cancelled}`],
    ["of workers' time in calls", share(totals.slot_use)], ["workers, nodes, blocks", `${totals.most_workers}, ${totals.nodes}, ${totals.blocks}`],
    ["builds", count(totals.builds)], ["of them again", count(totals.reloads)], ["time in builds", duration(totals.build_s)],
    ["saved against no reuse", duration(totals.saved_s)], ["median wait of a call", duration(totals.median_wait_s)],
    ["builds that failed", count(totals.build_failures)], ["workers that died", count(totals.dead_workers)],
  ]) {
    const tile = element("div", null, at("tiles"), "tile");
    element("b", value || "–", tile);
    element("span", name, tile);
  }
  if (data.advice.length) {
    element("h2", "Advice", at("advice"));
    const list = element("ul", null, at("advice"));
    for (const sentence of data.advice) element("li", sentence, list);
  }
  const idle = Math.max(0, totals.available_s - totals.run_s - totals.build_s);
  const all = totals.run_s + totals.build_s + idle || 1;
  for (const [name, value, colour] of [["in calls", totals.run_s, "var(--calls)"], ["in builds", totals.build_s, "var(--builds)"], ["idle, and calls on their way", idle, "var(--idle)"]]) {
    const part = element("div", null, at("shares"));
    part.style.cssText = `background:${colour};flex:${Math.max(1e-4, value / all)} 1 0`;
    legend(at("shares-legend"), `${name}: ${share(value / all)}, ${duration(value)}`, colour);
    part.title = `${name}: ${duration(value)} of workers' time`;
  }

  // --- timeline
  const timeline = data.timeline, unit = timeline.unit_s, names = [...new Set(Object.values(timeline.kinds))];
  const places = new Map(names.map((name, place) => [name, colours[place % colours.length]]));
  const colourOf = (what) => places.get(timeline.kinds[what]) || colours[0];
  const unpack = (packed) => {
    const count = packed.length / 5, boxes = { count, starts: new Float64Array(count), ends: new Float64Array(count), whats: new Uint32Array(count), calls: new Uint32Array(count), busy: new Uint8Array(count) };
    for (let i = 0, at = 0, before = 0; i < count; i++, at += 5) {
      boxes.starts[i] = unit * (before += packed[at]);
      boxes.ends[i] = unit * (before += packed[at + 1]);
      boxes.whats[i] = packed[at + 2]; boxes.calls[i] = packed[at + 3]; boxes.busy[i] = packed[at + 4];
    }
    return boxes;
  };
  const lanes = timeline.lanes.map((lane) => ({ name: lane.name, calls: unpack(lane.calls), builds: unpack(lane.builds) }));
  at("lanes-of").textContent = timeline.of;
  for (const name of names.slice(0, 24)) legend(at("legend"), `calls of ${name}`, places.get(name));
  if (names.length > 24) element("span", `and ${names.length - 24} more`, at("legend"));
  if (lanes.some((lane) => lane.builds.count)) legend(at("legend"), "a context is built", "var(--builds)");
  const canvas = document.querySelector("#timeline canvas"), pen = canvas.getContext("2d"), frame = at("timeline"), tip = at("tip");
  const LEFT = 130, TOP = 22, ROW = lanes.length > 64 ? 9 : 18;
  let from = 0, to = timeline.end_s || 1;
  const seconds = (x) => from + ((x - LEFT) / (frame.clientWidth - LEFT)) * (to - from);
  const firstAfter = (boxes, time) => {
    let low = 0, high = boxes.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (boxes.ends[middle] < time) low = middle + 1; else high = middle;
    }
    return low;
  };
  function drawBoxes(boxes, top, height, scale, colour) {
    const { starts, ends, whats, busy } = boxes;
    let column = -1, filled = 0, shade = null;
    const flush = () => {
      if (column >= 0 && filled > 0) { pen.globalAlpha = Math.min(1, 0.15 + 0.85 * filled); pen.fillStyle = shade; pen.fillRect(column, top, 1, height); }
    };
    for (let i = firstAfter(boxes, from); i < boxes.count && starts[i] <= to; i++) {
      const x = LEFT + (starts[i] - from) * scale, width = (ends[i] - starts[i]) * scale;
      if (width >= 1.5) {
        flush(); column = -1;
        pen.globalAlpha = 0.2 + 0.008 * busy[i]; pen.fillStyle = colour || colourOf(whats[i]);
        pen.fillRect(x, top, width > 4 ? width - 0.5 : width, height);
      } else {
        const here = Math.floor(x);
        if (here !== column) { flush(); column = here; filled = 0; }
        filled += (width * busy[i]) / 100; shade = colour || colourOf(whats[i]);
      }
    }
    flush();
    pen.globalAlpha = 1;
  }
  const nameOf = (lane) => { // the worker's number stays, whatever the length of its host's name
    const [, host, worker] = lane.name.match(/^(.*?)( \S+)?$/), short = host.split(".")[0];
    let name = short + (worker || "");
    for (let kept = short.length; pen.measureText(name).width > LEFT - 10 && kept > 1; kept--) name = `${short.slice(0, kept)}…${worker || ""}`;
    return name;
  };
  function draw() {
    const ratio = window.devicePixelRatio || 1, width = frame.clientWidth, height = TOP + ROW * Math.max(1, lanes.length) + 4;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--faint"), line = style.getPropertyValue("--line");
    const scale = (width - LEFT) / (to - from), rough = (to - from) / 8, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle";
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      const x = LEFT + (t - from) * scale;
      pen.fillStyle = line; pen.fillRect(x, TOP - 6, 1, height);
      pen.fillStyle = ink; pen.fillText(step < 1e-3 ? `${t.toFixed(6)} s` : step < 1 ? `${t.toFixed(3)} s` : tick(t), x + 3, 9);
    }
    lanes.forEach((lane, row) => {
      const top = TOP + row * ROW;
      if (ROW > 10 || row % 2 === 0) { pen.fillStyle = ink; pen.fillText(nameOf(lane), 4, top + ROW / 2); }
    });
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT, height);
    pen.clip(); // a new size of the canvas ends it
    lanes.forEach((lane, row) => {
      const top = TOP + row * ROW;
      drawBoxes(lane.calls, top + 1, ROW - 2, scale, null);
      drawBoxes(lane.builds, top + 1, ROW - 2, scale, style.getPropertyValue("--builds"));
    });
  }
  function move(a, b) {
    const span = Math.min(timeline.end_s || 1, Math.max(1e-5, b - a));
    from = Math.max(0, Math.min(a, (timeline.end_s || 1) - span)); to = from + span;
    requestAnimationFrame(draw);
  }
  let grabbed = null;
  canvas.addEventListener("mousedown", (e) => { grabbed = [e.offsetX, from, to]; });
  addEventListener("mouseup", () => { grabbed = null; });
  canvas.addEventListener("mousemove", (e) => {
    if (grabbed) {
      const shift = ((e.offsetX - grabbed[0]) / (frame.clientWidth - LEFT)) * (grabbed[2] - grabbed[1]);
      move(grabbed[1] - shift, grabbed[2] - shift);
      return;
    }
    const lane = lanes[Math.floor((e.offsetY - TOP) / ROW)], time = seconds(e.offsetX);
    const hit = (boxes) => { const found = firstAfter(boxes, time); return found < boxes.count && boxes.starts[found] <= time ? found : -1; };
    const build = lane ? hit(lane.builds) : -1, call = lane ? hit(lane.calls) : -1;
    tip.hidden = build < 0 && call < 0;
    if (tip.hidden) return;
    const boxes = build < 0 ? lane.calls : lane.builds, box = build < 0 ? call : build, what = boxes.whats[box];
    const name = build >= 0 ? `builds ${timeline.contexts[what]}` : boxes.calls[box] === 1 ? timeline.kinds[what] : `${count(boxes.calls[box])} calls of ${timeline.kinds[what]}, busy ${share(boxes.busy[box] / 100)}`;
    tip.textContent = `${lane.name}: ${name}\nfrom ${boxes.starts[box].toFixed(3)} s, ${duration(boxes.ends[box] - boxes.starts[box])}`;
    tip.style.left = `${Math.min(e.offsetX + 12, frame.clientWidth - 260)}px`; tip.style.top = `${e.offsetY + 14}px`;
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
  canvas.addEventListener("dblclick", () => move(0, timeline.end_s));
  canvas.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    const time = seconds(e.offsetX), factor = Math.exp(e.deltaY * 0.002);
    move(time - (time - from) * factor, time + (to - time) * factor);
  }, { passive: false });
  addEventListener("resize", draw);
  draw();

  // --- lines
  const lines = data.lines, canDraw = typeof uPlot !== "undefined"; // it fails where the browser's language is no language
  if (!canDraw) element("p", "This browser cannot draw lines: its language setting is not valid.", at("charts"));
  let charts = [];
  function drawLines() {
    for (const chart of charts) chart.destroy();
    const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("faint"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    const boxes = [...at("charts").children], width = boxes[0].clientWidth || 520;
    charts = [
      ["Workers", [["there", "workers", "idle"], ["in calls", "busy", "calls"], ["in builds", "building", "builds"]]],
      ["Calls that end, per second", [["calls", "calls_per_s", "ended"]]],
      ["Calls that wait", [["calls", "waiting", "waiting"]]],
      ["Memory of contexts [MB]", [["MB", "memory", "memory"]]],
    ].map(([title, series], place) => new uPlot({
      title, width, height: 220, scales: { x: { time: false } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(tick) }, { ...axis, size: 60 }],
      series: [
        { label: "time", value: (_, v) => (v === null ? "–" : duration(v)) },
        ...series.map(([label, , name]) => ({ label, stroke: colour(name), width: 1.5, value: (_, v) => (v === null ? "–" : count(+v.toPrecision(3))) })),
      ],
    }, [lines.time, ...series.map(([, key]) => (key === "memory" ? lines[key].map((v) => v / 1e6) : lines[key]))], boxes[place]));
  }
  if (canDraw) {
    for (let place = 0; place < 4; place++) element("div", null, at("charts"), "chart");
    drawLines();
    addEventListener("resize", () => { for (const chart of charts) chart.setSize({ width: at("charts").firstChild.clientWidth, height: 220 }); });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw(); if (canDraw) drawLines(); });

  // --- tables
  const formats = { s: duration, bytes: size, use: share, rate: share };
  const format = (key, value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "string") return value;
    const suffix = key.split("_").pop();
    return (formats[suffix] || (Number.isInteger(value) ? count : (v) => v.toPrecision(3)))(value);
  };
  const heads = {
    name: "name", reloads: "of them again", build_s: "time in builds", mean_build_s: "a build", size_bytes: "memory", evictions: "given up", losses: "lost",
    failures: "failed builds", run_s: "time in calls", hit_rate: "found it built", saved_s: "saved", mean_s: "a task", longest_s: "longest", mean_wait_s: "mean wait",
    code_bytes: "code", joined_s: "joined at", left_s: "left at", reason: "why it left", busy_s: "time in calls", use: "in calls", asked_s: "asked for at",
    queue_s: "until a node joined", text: "the provider says", ended_s: "ended at", load_s: "took", cause: "why again", started_s: "started at",
    waited_s: "waited before", took_s: "took", chunks: "pieces", url: "file",
  };
  const own = { "slowest run_s": "ran", "slowest task": "call", "slowest name": "of", "kinds name": "calls of", "contexts name": "context" };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? b - a : String(a ?? "").localeCompare(String(b ?? ""), "en", { numeric: true }));
  for (const [title, key] of [
    ["Contexts", "contexts"], ["Kinds of calls", "kinds"], ["Slowest builds", "builds"],
    ["Slowest calls", "slowest"], ["Nodes", "nodes"], ["Workers", "workers"], ["Blocks", "blocks"], ["Files that came to nodes", "transfers"],
  ]) {
    const rows = data[key];
    if (!rows.length) continue;
    const part = element("section", null, at("tables"));
    element("h2", title, part);
    const table = element("table", null, element("div", null, part, "wide"));
    const columns = Object.keys(rows[0]).filter((column) => column !== "digest" && rows.some((row) => row[column] !== null && row[column] !== ""));
    const isText = Object.fromEntries(columns.map((column) => [column, rows.some((row) => typeof row[column] === "string")]));
    const fill = () => {
      table.textContent = "";
      const head = element("tr", null, element("thead", null, table));
      for (const column of columns) {
        const cell = element("th", own[`${key} ${column}`] || heads[column] || column.replaceAll("_", " "), head, isText[column] ? "text" : "");
        cell.title = "sort by this";
        cell.onclick = () => { rows.sort((a, b) => compare(a[column], b[column])); fill(); };
      }
      const body = element("tbody", null, table);
      for (const row of rows.slice(0, SHOWN)) {
        const line = element("tr", null, body);
        for (const column of columns) {
          const cell = element("td", format(column, row[column]), line, isText[column] ? "text" : "");
          if (isText[column]) cell.title = cell.textContent;
        }
      }
    };
    fill();
    if (rows.length > SHOWN) element("p", `${count(rows.length - SHOWN)} more rows are in \`parsl-context report --csv FOLDER\`.`, part, "hint");
  }
  document.body.dataset.ready = "yes";
})();
