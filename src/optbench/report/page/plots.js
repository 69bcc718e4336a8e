// A panel of a described figure (optbench.report.plots) as SVG: a frame with its scales, marks, cursor positions (`stops`), and the text for each (`says`).
const LINES = 7; // of an entry's name beside its row
const LANE = 11; // height of a lane of marks above the frame
const BANDED = { line: 6, steps: 4 }; // most lines whose bands are drawn at once

function extent(values) {
  let least = Infinity, most = -Infinity;
  for (const value of values) if (value !== null && value !== undefined && Number.isFinite(value)) { least = Math.min(least, value); most = Math.max(most, value); }
  return least <= most ? [least, most] : null;
}
const timesOf = (figure) => figure.panels.map((panel) => panel.time).filter(Boolean);
const panelOf = (figure, time) => figure.panels.find((panel) => panel.time === time) || figure.panels[0];
const titled = (axis) => axis.label + (FORMATS[axis.format].unit ? ` (${FORMATS[axis.format].unit.trim()})` : "");

// `view`: {id, zoom: {x, y} | null, log, cut, width, height, focus}
function draw(panel, view) {
  const marks = shown(panel.marks), kind = panel.rows ? rowFrame : panel.marks.some((mark) => mark.m === "cells") ? cellFrame : plainFrame;
  const frame = kind(panel, marks, view);
  if (!frame) return null;
  const { area, root } = frame, groups = new Map();
  const above = svg("g"), inside = svg("g", { "clip-path": `url(#${view.id})` });
  const pad = panel.rows ? 0 : 6;
  root.append(svg("clipPath", { id: view.id }, svg("rect", { x: area.left - 6, y: area.top - pad, width: area.right - area.left + 12, height: area.bottom - area.top + 2 * pad })), inside, above);
  const groupOf = (mark, layer) => {
    if (mark.o === undefined) return layer;
    const id = `${mark.o} ${layer === above}`;
    if (!groups.has(id)) groups.set(id, layer.appendChild(entryGroup(mark.o, view)));
    return groups.get(id);
  };
  const sharing = (mark) => mark.o !== undefined && ENTRIES[mark.o].shared; // drawn below the baseline
  for (const mark of [...marks.filter(sharing), ...marks.filter((each) => !sharing(each))]) groupOf(mark, mark.above || mark.m === "label" || mark.m === "rule" || mark.m === "stack" ? above : inside).append(...MARKS[mark.m](mark, frame, view, panel).filter(Boolean));
  frame.finish?.();
  return frame;
}
const entryGroup = (o, view, ...children) => svg("g", { "data-o": o, style: `--c:var(--o${o})`, class: view.focus !== null && view.focus !== o ? "dim" : null }, ...children);

// ---- lines over an axis
const pointsOf = (line) => line.x.map((x, index) => ({ x, y: line.y[index], lo: line.lo?.[index], hi: line.hi?.[index], k: Array.isArray(line.k) ? line.k[index] : line.k })).filter((point) => point.x !== null && point.y !== null);
function plainFrame(panel, marks, view) {
  const sets = marks.filter((mark) => mark.m === "line").map((line) => ({ line, points: pointsOf(line) })), all = sets.flatMap((set) => set.points);
  const { x: across, y: up } = panel, limited = across.low !== undefined, surface = marks.some((mark) => mark.m === "contours");
  const whole = extent([...all.map((point) => point.x), ...(surface ? [across.low, across.high] : [])]);
  if (!whole) return null;
  const domainX = view.zoom?.x || (limited ? [across.low, Math.max(whole[0], Math.min(across.high, whole[1] * (across.log ? 1.05 : 1.02)))] : across.log ? [whole[0] / 1.15, whole[1] * 1.15] : [Math.min(0, whole[0]), whole[1]]);
  const within = (point) => point.x >= domainX[0] - 1e-9 && point.x <= domainX[1] + 1e-9;
  const steps = sets.some(({ line }) => line.steps), banded = sets.length <= (steps ? BANDED.steps : BANDED.line);
  const values = sets.flatMap(({ points }) => points.filter(within).flatMap((point) => (banded ? [point.y, point.lo, point.hi] : [point.y])));
  if (surface && !view.zoom) values.push(up.low, up.high);
  if (!view.zoom) values.push(...marks.filter((mark) => mark.m === "rule").map((mark) => mark.y));
  const { domain: domainY, cut } = rangeY(up, values, view);
  const ends = view.width >= 620 && sets.length <= 9 ? sets.filter((set) => set.points.length) : [];
  const room = ends.length ? 20 + Math.min(150, Math.max(...ends.map((set) => widthOf(set.line.n)))) : 14;
  const lanes = Math.max(0, ...marks.filter((mark) => mark.above).flatMap((mark) => mark.y).map((lane) => lane + 1));
  const frame = axes(panel, view, domainX, domainY, room, lanes * LANE);
  const stops = [...new Set(all.filter(within).map((point) => point.x))].sort((a, b) => a - b), { full } = FORMATS[up.format];
  const says = (at) => ({
    head: panel.time && !across.label.includes(" to target") ? `${formatX(at)} ${across.label}` : `${across.label} = ${formatX(at)}`,
    rows: sets.map(({ line, points }) => ({ line, point: valueAt(points, at, line.steps, stops) })).filter((row) => row.point).sort((a, b) => b.point.y - a.point.y)
      .map(({ line, point }) => ({ o: line.o, name: line.n, value: withBand(point, full), more: line.of === "seeds" ? seeds(point.k) : point.k === undefined ? "" : `${point.k} ${line.of}` })),
  });
  return { ...frame, sets, stops, says, horizontal: true, cut, banded, within, finish: () => endLabels(frame, ends, domainX, view) };
}
// The range of the vertical axis; `cut` if values lie outside of the range that the figure limits it to.
function rangeY(axis, values, view) {
  const [least, most] = extent(view.log ? values.filter((value) => value > 0) : values) || [0, 1];
  if (axis.format === "share") return { domain: [axis.low, axis.high] };
  const pad = (most - least || Math.abs(most) || 1) * 0.05;
  const free = view.log ? (least === most ? [least / 2, most * 2] : [least / 1.1, most * 1.1]) : [least >= 0 && least - pad < 0 ? 0 : least - pad, axis.format === "percent" && most <= 1 ? Math.min(1.004, most + pad) : most + pad];
  if (axis.low === undefined || view.zoom || (view.log && !axis.log)) return { domain: free };
  const limited = [Math.max(free[0], axis.low), Math.min(free[1], axis.high)], cut = least < axis.low || most > axis.high;
  return { domain: view.cut && limited[0] < limited[1] ? limited : free, cut };
}
// Axes with ticks; `room` is kept free on the right, `lanes` above the frame.
function axes(panel, view, domainX, domainY, room, lanes) {
  const { x: across, y: up } = panel, format = FORMATS[up.format];
  const probe = view.log ? logarithmic(domainY, [0, 1]).ticks(5) : linear(domainY, [0, 1]).ticks(5);
  const left = 14 + Math.max(12, ...probe.map((tick) => widthOf(format.tick(tick))));
  const area = { left, right: view.width - room, top: 26 + lanes, bottom: view.height - 40 };
  const x = (across.log ? logarithmic : linear)(domainX, [area.left, area.right]), y = (view.log ? logarithmic : linear)(domainY, [area.bottom, area.top]);
  const root = svg("svg", { viewBox: `0 0 ${view.width} ${view.height}`, width: view.width, height: view.height, "aria-hidden": "true", focusable: "false" });
  for (const tick of y.ticks(view.height > 300 ? 6 : 4))
    root.append(svg("line", { class: "grid", x1: area.left, x2: area.right, y1: y(tick), y2: y(tick) }), svg("text", { x: area.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format.tick(tick)));
  for (const tick of x.ticks(Math.max(2, Math.floor((area.right - area.left) / 85))))
    root.append(svg("line", { class: "axis", x1: x(tick), x2: x(tick), y1: area.bottom, y2: area.bottom + 4 }), svg("text", { x: x(tick), y: area.bottom + 18, "text-anchor": "middle", class: "tick-x" }, FORMATS[across.format].tick(tick)));
  root.append(svg("line", { class: "axis", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }),
    svg("text", { x: (area.left + area.right) / 2, y: area.bottom + 35, "text-anchor": "middle", class: "label-x" }, titled(across)),
    svg("text", { x: 0, y: 12, class: "label-y" }, titled(up) + (view.log ? ", log scale" : "")));
  return { root, area, x, y, lane: (place) => area.top - 8 - LANE * place };
}
function valueAt(points, at, step, stops) {
  if (!points.length) return null;
  if (step) return points.filter((point) => point.x <= at * (1 + 1e-9)).pop() || null;
  const near = points.reduce((best, point) => (Math.abs(point.x - at) < Math.abs(best.x - at) ? point : best));
  const gap = stops.length > 1 ? (stops[stops.length - 1] - stops[0]) / (stops.length - 1) : Infinity;
  const own = points.length > 1 ? (points[points.length - 1].x - points[0].x) / (points.length - 1) : gap;
  return Math.abs(near.x - at) <= 0.75 * Math.max(gap, own) ? near : null;
}
function endLabels({ root, area, x, y }, sets, domain, view) {
  const labels = sets.map(({ line, points }) => {
    const last = points.filter((point) => point.x <= domain[1] * (1 + 1e-9) + 1e-12).pop();
    const height = last && Math.max(area.top, Math.min(area.bottom, y(last.y)));
    return last && { line, from: [Math.min(area.right, x(last.x)), height], at: height };
  }).filter(Boolean).sort((a, b) => a.at - b.at);
  const gap = 14.5;
  for (let turn = 0; turn < 60; turn++)
    labels.forEach((label, index) => {
      const before = labels[index - 1];
      if (before && label.at - before.at < gap) { const push = (gap - (label.at - before.at)) / 2; before.at -= push; label.at += push; }
      label.at = Math.max(area.top + 2, Math.min(area.bottom - 2, label.at));
    });
  const names = distinct(labels.map(({ line }) => line.n), 150);
  labels.forEach(({ line, from, at }, index) => root.append(entryGroup(line.o, view,
    svg("line", { class: "leader", x1: from[0] + 3, y1: from[1], x2: area.right + 10, y2: at }),
    svg("text", { x: area.right + 14, y: at + 4, class: "strong", "unicode-bidi": "plaintext" }, names[index]))));
}

// ---- rows of entries
function rowFrame(panel, marks, view) {
  const rows = shown(panel.rows), { x: axis } = panel, format = FORMATS[axis.format];
  if (!rows.length) return null;
  const starts = marks.filter((mark) => mark.m === "label" && mark.x === undefined), below = marks.some((mark) => mark.m === "label" && mark.x !== undefined);
  const title = (row) => (row.top ? `◆ ${row.n}` : row.n), beside = Math.max(0, ...starts.map((mark) => widthOf(mark.text) + 10));
  const left = Math.min(0.38 * view.width, 16 + Math.max(...rows.map((row) => widthOf(title(row)))));
  const names = rows.map((row) => linesOf(title(row), left - 14, LINES)), tall = Math.max(...names.map((lines) => lines.length));
  names.forEach((lines, index) => { if (names.findIndex((other) => other.join() === lines.join()) !== index) lines.push(`#${index + 1}`); });
  const parts = legendOf(panel, view), high = Math.max(below ? 54 : 24, 14 * tall + 10, Math.min(46, (view.height - 60 - parts.height) / rows.length));
  const room = Math.max(26, ...marks.filter((mark) => mark.m === "stack").map((mark) => widthOf(mark.text) + 12));
  const area = { left: left + beside, right: view.width - room, top: 8, bottom: 8 + rows.length * high }, height = area.bottom + 42 + parts.height;
  const whole = extent(marks.flatMap((mark) => (mark.m === "stack" ? [0, mark.sizes.reduce((sum, size) => sum + (size || 0), 0)] : mark.m === "interval" ? [mark.lo, mark.hi] : mark.x)));
  if (!whole) return null;
  const pad = panel.parts ? 0 : (whole[1] - whole[0] || Math.abs(whole[0]) || 1) * 0.08, free = [whole[0] - pad, whole[1] + pad];
  const cut = axis.low !== undefined && (whole[0] < axis.low - 1e-4 * Math.abs(axis.low) || whole[1] > axis.high + 1e-4 * Math.abs(axis.high));
  const x = linear(view.zoom?.x || (cut && view.cut ? [Math.max(free[0], axis.low), Math.min(free[1], axis.high)] : free), [area.left, area.right]);
  const root = svg("svg", { viewBox: `0 0 ${view.width} ${height}`, width: view.width, height, "aria-hidden": "true", focusable: "false" });
  for (const tick of x.ticks(Math.max(2, Math.floor((area.right - area.left) / 80))))
    root.append(svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: area.top, y2: area.bottom }), svg("text", { x: x(tick), y: area.bottom + 16, "text-anchor": "middle", class: "tick-x" }, format.tick(tick)));
  root.append(svg("text", { x: (area.left + area.right) / 2, y: area.bottom + 34, "text-anchor": "middle", class: "label-x" }, titled(axis)), ...parts.draw(height, rows));
  const middles = rows.map((_, index) => area.top + (index + 0.5) * high), places = new Map(rows.map((row, index) => [panel.rows.indexOf(row), middles[index]]));
  rows.forEach((row, index) => root.append(entryGroup(row.o, view, ...names[index].map((line, place) =>
    svg("text", { x: left - 12, y: middles[index] + 4 + 14 * (place - (names[index].length - 1) / 2), "text-anchor": "end", class: "strong", "unicode-bidi": "plaintext" }, line)))));
  const middle = (value) => places.get(Math.round(value)) ?? NaN;
  const says = (at) => ({ head: rows[at].n, rows: rows[at].facts.map((name, index) => ({ name, value: rows[at].values[index], more: rows[at].remarks[index] })) });
  return { root, area, x, y: (value) => middle(value) + (value - Math.round(value)) * Math.min(high, 46), middle, stops: [...rows.keys()], says, horizontal: false, groups: middles.map((each) => ({ middle: each })), cut };
}
// The legend of the parts of stacked bars, in lines below the axis.
function legendOf(panel, view) {
  const parts = panel.parts || [], lines = [[]];
  let left = 2;
  for (const part of parts) {
    const needs = 34 + widthOf(part.name);
    if (left + needs > view.width && left > 2) { lines.push([]); left = 2; }
    lines[lines.length - 1].push([part, left]);
    left += needs;
  }
  const draw = (height, rows) => (parts.length ? [svg("defs", {}, ...patterns(view))] : []).concat(lines.flatMap((line, place) => line.flatMap(([part, x]) => {
    const y = height - 6 - 18 * (lines.length - 1 - place), few = rows.slice(0, 3);
    const box = part.look === "own" ? few.map((row, index) => svg("rect", { x: x + (14 * index) / few.length, y: y - 9, width: 14 / few.length, height: 10, fill: `var(--o${row.o})` })) : [partBox(part.look, x, x + 14, y - 9, 10, view)];
    return [...box, svg("text", { x: x + 19, y }, part.name)];
  })));
  return { height: parts.length ? 6 + 18 * lines.length : 0, draw };
}
function patterns(view) {
  const pattern = (name, ...parts) => svg("pattern", { id: `${name}${view.id}`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { width: 5, height: 5, fill: "var(--card)" }), ...parts);
  return [pattern("hatch", svg("line", { y2: 5, stroke: "var(--quiet)", "stroke-width": 2.4 })), pattern("dots", svg("circle", { cx: 2.5, cy: 2.5, r: 1, fill: "var(--quiet)" }))];
}
const partBox = (look, left, right, top, height, view) => svg("rect", { class: `part ${look}`, x: left, y: top, width: Math.max(0, right - left), height, style: look === "hatch" || look === "dots" ? `fill:url(#${look}${view.id})` : null });

// ---- heat map (cividis: readable in grey and with colour blindness)
const RAMP = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
function shade(share) {
  const place = Math.max(0, Math.min(1, share)) * (RAMP.length - 1), from = Math.min(RAMP.length - 2, Math.floor(place));
  return RAMP[from].map((value, part) => Math.round(value + (place - from) * (RAMP[from + 1][part] - value)));
}
function cellFrame(panel, marks, view) {
  const mark = marks.find((each) => each.m === "cells"), high = 27;
  if (!mark) return null;
  const left = 14 + Math.max(...mark.rows.map(widthOf)), area = { left, right: Math.min(view.width - 4, left + 110 * mark.columns.length), top: 26, bottom: 26 + high * mark.rows.length };
  const wide = (area.right - left) / mark.columns.length, line = area.bottom + 62, { full } = FORMATS[mark.format], start = 6 + widthOf(full(mark.worst));
  const boxOf = ([x, y]) => ({ x: left + wide * x, y: area.bottom - high * (y + 1), width: wide - 1, height: high - 1 });
  const root = svg("svg", { viewBox: `0 0 ${view.width} ${line + 8}`, width: view.width, height: line + 8, "aria-hidden": "true", focusable: "false" });
  root.append(svg("text", { x: 0, y: 12, class: "label-y" }, panel.y.label), svg("text", { x: (left + area.right) / 2, y: area.bottom + 33, "text-anchor": "middle", class: "label-x" }, panel.x.label));
  mark.rows.forEach((row, place) => root.append(svg("text", { x: left - 8, y: area.bottom - high * (place + 0.5) + 4, "text-anchor": "end" }, row)));
  const every = Math.ceil(Math.max(...mark.columns.map((column) => widthOf(column) + 10)) / wide);
  mark.columns.forEach((column, place) => { if (place % every === 0) root.append(svg("text", { x: left + wide * (place + 0.5), y: area.bottom + 16, "text-anchor": "middle", class: "tick-x" }, column)); });
  const ramp = svg("linearGradient", { id: `ramp${view.id}` }, RAMP.map((colour, index) => svg("stop", { offset: index / (RAMP.length - 1), "stop-color": `rgb(${colour})` })));
  root.append(svg("defs", {}, ramp), svg("text", { x: 0, y: line }, full(mark.worst)), svg("rect", { x: start, y: line - 10, width: 130, height: 11, fill: `url(#ramp${view.id})` }), svg("text", { x: start + 136, y: line }, full(mark.best)));
  const stops = mark.values.flatMap((row, y) => row.map((value, x) => (value === null ? null : [x, y]))).filter(Boolean).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const says = ([x, y]) => ({ head: `${panel.x.label} = ${mark.columns[x]}, ${panel.y.label} = ${mark.rows[y]}`, rows: [{ o: mark.o, name: mark.n, value: mark.facts[y][x], more: mark.more[y][x] }] });
  return { root, area, boxOf, stops, says, box: boxOf, horizontal: false };
}

// ---- marks: the elements of one mark in its frame
const path = (points, x, y) => points.map((point, index) => `${index ? "L" : "M"}${x(point.x).toFixed(1)} ${clamp(y(point.y)).toFixed(1)}`).join("");
const clamp = (value) => Math.max(-9999, Math.min(9999, Number.isFinite(value) ? value : 9999));
const stepped = (points) => points.flatMap((point, index) => (index ? [{ ...points[index - 1], x: point.x }, point] : [point]));
function bands(points, x, y) {
  const found = [];
  let run = [];
  for (const point of [...points, null]) {
    if (point && point.lo !== null && point.lo !== undefined && point.hi !== null && point.hi !== undefined) { run.push(point); continue; }
    if (run.length > 1) {
      const back = [...run].reverse().map((each) => ({ x: each.x, y: each.lo }));
      found.push(svg("path", { class: "band", d: `${path(run.map((each) => ({ x: each.x, y: each.hi })), x, y)}L${path(back, x, y).slice(1)}Z` }));
    }
    run = [];
  }
  return found;
}
const MARKS = {
  line(mark, { x, y, banded, within }, view, panel) {
    const points = pointsOf(mark), trail = mark.steps ? stepped(points) : points, seen = points.filter(within);
    const every = Math.max(1, Math.ceil(seen.length / (panel.time ? 7 : 60)));
    const marked = seen.filter((point, index) => (mark.steps ? point.y !== points[points.indexOf(point) - 1]?.y : (index + mark.o) % every === 0));
    return [...(banded || view.focus === mark.o ? bands(trail, x, y) : []), svg("path", { class: ENTRIES[mark.o].shared ? "line shared" : MANY ? "line alone" : "line", d: path(trail, x, y), "stroke-dasharray": dash(mark.o) }),
      ...(mark.steps && points.length > 1 ? marked.slice(+(marked[0] === points[0])) : marked).map((point) => marker(mark.o, x(point.x), y(point.y), ENTRIES[mark.o].shared ? 2.2 : MANY ? 4.4 : 3.4))];
  },
  points(mark, { area, x, y, lane }, view, panel) {
    return mark.x.map((value, index) => {
      const across = x(value), up = mark.above ? lane(mark.y[index]) : y(mark.y[index]), long = panel.rows ? 9 : 5;
      if (value === null || mark.y[index] === null || !(across >= area.left - 4 && across <= area.right + 4)) return null;
      if (mark.shape === "|") return svg("line", { class: mark.ink ? "whisker" : "tick", x1: across, x2: across, y1: up - long, y2: up + long, "stroke-width": 2.2 });
      if (mark.shape === "x") return svg("path", { class: "tick", d: "M-4 -4L4 4M-4 4L4 -4", transform: `translate(${across.toFixed(1)} ${clamp(up).toFixed(1)})` });
      const open = mark.open && { class: mark.ink ? "published" : "open" };
      return marker(mark.o, across, up, mark.above || mark.open ? 4.2 : 3.4, open || (panel.rows ? { class: "seed" } : mark.ink ? { class: "published" } : {}), mark.shape);
    });
  },
  interval(mark, { area, x, y, lane, middle }) {
    const bound = (value) => Math.max(area.left, Math.min(area.right, x(value))), [left, right] = [bound(mark.lo), bound(mark.hi)];
    if (mark.look === "shade") return [svg("rect", { class: "margin", x: left, y: middle(mark.y) - 14, width: right - left, height: 28 })];
    const up = mark.above ? lane(mark.y) : y(mark.y);
    return [svg("line", { class: mark.look === "bar" ? "basin" : mark.ink ? "whisker" : "tick", x1: left, x2: Math.max(right, left + (mark.look === "bar" ? 3 : 0)), y1: up, y2: up })];
  },
  stack(mark, { area, x, middle }, view, panel) {
    const bound = (value) => Math.max(area.left, Math.min(area.right, x(value))), up = middle(mark.row);
    let from = 0;
    const boxes = mark.sizes.map((size, part) => { if (!size) return null; from += size; return partBox(panel.parts[part].look, bound(from - size) + (from > size ? 1 : 0), bound(from), up - 8, 16, view); });
    return [...boxes, svg("text", { x: bound(from) + 6, y: up + 4 }, mark.text)];
  },
  label(mark, { area, x, middle }) {
    const up = middle(mark.row), half = widthOf(mark.text) / 2;
    if (mark.x === undefined) return [svg("text", { x: area.left - 2 * half - 6, y: up + 4 }, mark.text)];
    return x(mark.x) < area.left - 4 || x(mark.x) > area.right + 4 ? [] : [svg("text", { x: Math.max(area.left + half, Math.min(area.right - half, x(mark.x))), y: up + 25, "text-anchor": "middle" }, mark.text)];
  },
  rule(mark, { area, y, sets }) {
    const up = y(mark.y), over = sets.filter(({ points }) => points.length && points[points.length - 1].y >= mark.y).length * 2 >= sets.length;
    if (!(up >= area.top - 1 && up <= area.bottom + 1)) return [];
    return [svg("line", { class: "target", x1: area.left, x2: area.right, y1: up, y2: up }), svg("text", { x: area.right - 6, y: up + (over && up < area.bottom - 22 ? 14 : -6), "text-anchor": "end", class: "strong halo" }, mark.text)];
  },
  contours(mark, { x, y }) {
    return mark.lines.map(([across, up]) => svg("path", { class: "contour", d: path(across.map((value, index) => ({ x: value, y: up[index] })), x, y) }));
  },
  cells(mark, { area, stops, boxOf }, view, panel) {
    const share = (value) => (mark.best === mark.worst ? 1 : (value - mark.worst) / (mark.best - mark.worst));
    const found = stops.flatMap(([x, y]) => {
      const box = boxOf([x, y]), colour = shade(share(mark.values[y][x])), text = mark.texts[y][x];
      return [svg("rect", { ...box, fill: `rgb(${colour})` }), widthOf(text) + 6 <= box.width ? svg("text", { x: box.x + box.width / 2, y: box.y + box.height / 2 + 4, "text-anchor": "middle", style: `fill:${colour[1] > 115 ? "#111" : "#fff"}` }, text) : null];
    });
    return mark.framed ? [...found, svg("rect", { class: "cell", ...boxOf(mark.framed) })] : found;
  },
};
