"use strict";
(async function () {
  const bytes = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = await new Response(stream).json();
  const totals = data.totals[0];
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

  // --- head
  const began = new Date(1000 * totals.began_wall_s);
  at("title").textContent = `${totals.label}, ${began.toLocaleString("en-GB")}, ${duration(totals.duration_s)}`;
  at("end").textContent = totals.is_complete ? `It ended: ${totals.end}.` : `${totals.end}.`;
  for (const [name, value] of [
    ["calls", count(totals.calls)], ["calls per second", totals.calls_per_s === null ? "" : count(+totals.calls_per_s.toPrecision(3))],
    ["raised, failed, cancelled", `${totals.raised}, ${totals.failed}, ${totals.cancelled}`],
    ["slot use", share(totals.slot_use)], ["workers, nodes, blocks", `${totals.most_workers}, ${totals.nodes}, ${totals.blocks}`],
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
  for (const [name, value, colour] of [["calls", totals.run_s, "#3f7fbf"], ["builds", totals.build_s, "#3b2f4a"], ["idle and on the way", idle, "#9aa5b1"]]) {
    const part = element("div", `${name} ${share(value / all)}`, at("shares"));
    part.style.cssText = `background:${colour};flex:${Math.max(1e-4, value / all)} 1 0`;
    part.title = `${name}: ${duration(value)} of workers' time`;
  }

  // --- timeline
  const timeline = data.timeline, unit = timeline.unit_s, numbers = Object.keys(timeline.kinds);
  const colourOf = (what) => colours[Math.max(0, numbers.indexOf(String(what))) % colours.length];
  const unpack = (packed) => {
    const boxes = [];
    let before = 0;
    for (let i = 0; i < packed.length; i += 5) {
      const start = before + packed[i];
      before = start + packed[i + 1];
      boxes.push([start * unit, before * unit, packed[i + 2], packed[i + 3], packed[i + 4] / 100]);
    }
    return boxes;
  };
  const lanes = timeline.lanes.map((lane) => ({ name: lane.name, calls: unpack(lane.calls), builds: unpack(lane.builds) }));
  at("lanes-of").textContent = timeline.of;
  for (const number of numbers.slice(0, 24)) {
    const entry = element("span", null, at("legend"));
    element("i", "", entry).style.background = colourOf(number);
    entry.append(timeline.kinds[number]);
  }
  const canvas = document.querySelector("#timeline canvas"), pen = canvas.getContext("2d"), frame = at("timeline"), tip = at("tip");
  const LEFT = 130, TOP = 22, ROW = lanes.length > 64 ? 9 : 18;
  let from = 0, to = timeline.end_s || 1;
  const seconds = (x) => from + ((x - LEFT) / (frame.clientWidth - LEFT)) * (to - from);
  const firstAfter = (boxes, time) => {
    let low = 0, high = boxes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (boxes[middle][1] < time) low = middle + 1; else high = middle;
    }
    return low;
  };
  function drawBoxes(boxes, top, height, scale, colour) {
    let column = -1, filled = 0, shade = null;
    const flush = () => {
      if (column >= 0 && filled > 0) { pen.globalAlpha = Math.min(1, 0.15 + 0.85 * filled); pen.fillStyle = shade; pen.fillRect(column, top, 1, height); }
    };
    for (let i = firstAfter(boxes, from); i < boxes.length && boxes[i][0] <= to; i++) {
      const [start, end, what, , busy] = boxes[i], x = LEFT + (start - from) * scale, width = (end - start) * scale;
      if (width >= 1.5) {
        flush(); column = -1;
        pen.globalAlpha = 0.2 + 0.8 * busy; pen.fillStyle = colour || colourOf(what);
        pen.fillRect(x, top, width > 4 ? width - 0.5 : width, height);
      } else {
        const here = Math.floor(x);
        if (here !== column) { flush(); column = here; filled = 0; }
        filled += width * busy; shade = colour || colourOf(what);
      }
    }
    flush();
    pen.globalAlpha = 1;
  }
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
      pen.fillStyle = ink; pen.fillText(step < 1e-3 ? `${t.toFixed(6)} s` : step < 1 ? `${t.toFixed(3)} s` : duration(t) || "0", x + 3, 9);
    }
    lanes.forEach((lane, row) => {
      const top = TOP + row * ROW;
      if (ROW > 10 || row % 2 === 0) { pen.fillStyle = ink; pen.fillText(lane.name.slice(0, 20), 4, top + ROW / 2); }
    });
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT, height);
    pen.clip(); // a new size of the canvas ends it
    lanes.forEach((lane, row) => {
      const top = TOP + row * ROW;
      drawBoxes(lane.calls, top + 1, ROW - 2, scale, null);
      drawBoxes(lane.builds, top + 1, ROW - 2, scale, style.getPropertyValue("--dark"));
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
    const hit = (boxes) => { const box = boxes[firstAfter(boxes, time)]; return box && box[0] <= time ? box : null; };
    const build = lane && hit(lane.builds), call = lane && hit(lane.calls), box = build || call;
    tip.hidden = !box;
    if (!box) return;
    const name = build ? `builds ${timeline.contexts[box[2]]}` : box[3] === 1 ? timeline.kinds[box[2]] : `${box[3]} calls of ${timeline.kinds[box[2]]}, busy ${share(box[4])}`;
    tip.textContent = `${lane.name}: ${name}\nfrom ${box[0].toFixed(3)} s, ${duration(box[1] - box[0])}`;
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
  const charts = canDraw ? [1, 2, 3, 4].map(() => element("div", null, at("charts"))) : [];
  for (const [name, series] of [
    ["Workers", [["there", "workers", "#9aa5b1"], ["in calls", "busy", "#3f7fbf"], ["in builds", "building", "#3b2f4a"]]],
    ["Calls that end, per second", [["calls", "calls_per_s", "#4f9d69"]]],
    ["Calls that wait", [["calls", "waiting", "#e0913a"]]],
    ["Memory of contexts [MB]", [["MB", "memory", "#8a73b8"]]],
  ].slice(0, canDraw ? 4 : 0)) {
    const box = charts.shift();
    new uPlot({
      title: name, width: box.clientWidth || 520, height: 200, scales: { x: { time: false } },
      axes: [{ values: (_, ticks) => ticks.map((t) => duration(t) || "0") }, { size: 60 }],
      series: [{ label: "time", value: (_, v) => duration(v) }, ...series.map(([label, , stroke]) => ({ label, stroke, width: 1.5 }))],
    }, [lines.time, ...series.map(([, key]) => (key === "memory" ? lines[key].map((v) => v / 1e6) : lines[key]))], box);
  }

  // --- tables
  const formats = { s: duration, bytes: size, use: share, rate: share };
  const format = (key, value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "string") return value;
    const suffix = key.split("_").pop();
    return (formats[suffix] || (Number.isInteger(value) ? count : (v) => v.toPrecision(3)))(value);
  };
  for (const [title, key] of [
    ["Contexts", "contexts"], ["Kinds of calls", "kinds"], ["Slowest builds, and builds again with their cause", "builds"],
    ["Slowest calls", "slowest"], ["Nodes", "nodes"], ["Workers", "workers"], ["Blocks", "blocks"], ["Files that came to nodes", "transfers"],
  ]) {
    const rows = data[key];
    if (!rows.length) continue;
    element("h2", title, at("tables"));
    const table = element("table", null, element("div", null, at("tables"), "wide"));
    const columns = Object.keys(rows[0]).filter((column) => column !== "digest" && rows.some((row) => row[column] !== null && row[column] !== ""));
    const fill = () => {
      table.textContent = "";
      const head = element("tr", null, element("thead", null, table));
      for (const column of columns) {
        const cell = element("th", column.replace(/_(s|bytes)$/, "").replaceAll("_", " "), head, typeof rows[0][column] === "string" ? "text" : "");
        cell.onclick = () => { rows.sort((a, b) => (typeof a[column] === "string" ? String(a[column]).localeCompare(b[column]) : (b[column] || 0) - (a[column] || 0))); fill(); };
      }
      const body = element("tbody", null, table);
      for (const row of rows.slice(0, 300)) {
        const line = element("tr", null, body);
        for (const column of columns) {
          const cell = element("td", format(column, row[column]), line, typeof row[column] === "string" ? "text" : "");
          cell.title = cell.textContent;
        }
      }
    };
    fill();
  }
  document.body.dataset.ready = "yes";
})();
