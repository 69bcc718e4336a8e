// Drawing of line figures. A chart returns its axes, its cursor positions (`stops`) and the text for each (`says`).
const isStep = (figure) => figure.kind === "survival" || figure.kind === "profile";

// Units of time in which a figure can be drawn; none if its x axis is not time.
function unitsOf(figure) {
  if (figure.kind === "lines") return Object.keys(UNITS).filter((unit) => figure.series.some((each) => each.c[unit]));
  if (isStep(figure)) return Object.keys(UNITS).filter((unit) => figure.series.some((each) => each.u[unit]));
  return [];
}
function pointsOf(figure, series, unit) {
  const source = figure.kind === "lines" ? { x: series.c[unit], ...pick(series, ["y", "lo", "hi", "k"]) } : isStep(figure) ? series.u[unit] : series;
  if (!source || !source.x) return [];
  const at = (values, index) => (Array.isArray(values) ? values[index] : values);
  const points = source.x.map((x, index) => ({ x, y: source.y[index], lo: at(source.lo, index), hi: at(source.hi, index), k: at(source.k, index) }));
  const known = points.filter((point) => point.x !== null && point.y !== null);
  return figure.kind === "survival" && known.length ? [{ x: 0, y: 1, lo: null, hi: null, k: series.n }, ...known] : known;
}
const pick = (object, names) => Object.fromEntries(names.map((name) => [name, object[name]]));

function extent(values) {
  let least = Infinity, most = -Infinity;
  for (const value of values) if (value !== null && value !== undefined && Number.isFinite(value)) { least = Math.min(least, value); most = Math.max(most, value); }
  return least <= most ? [least, most] : null;
}

// Lines over time or over a hyperparameter. `view`: {unit, zoom: {x, y} | null, log, width, height, focus}
function drawLines(figure, view) {
  const logX = figure.kind === "sweep", sets = shown(figure.series).map((series) => ({ series, points: pointsOf(figure, series, view.unit) }));
  const all = sets.flatMap((set) => set.points), whole = extent(all.map((point) => point.x));
  if (!whole) return null;
  const domainX = view.zoom?.x || (figure.kind === "profile" ? whole : logX ? [whole[0] / 1.15, whole[1] * 1.15] : [Math.min(0, whole[0]), whole[1]]);
  const inside = (point) => point.x >= domainX[0] - 1e-9 && point.x <= domainX[1] + 1e-9;
  const banded = sets.length <= (figure.kind === "survival" ? 4 : 6);
  const cut = view.cut && !view.zoom ? cutOf(figure, sets) : null;
  const domainY = view.zoom?.y || cut || rangeY(figure, view, sets, inside, banded);
  const ends = view.width >= 620 && sets.length <= 9 ? sets.filter((set) => set.points.length) : [];
  const room = ends.length ? 20 + Math.min(150, Math.max(...ends.map((set) => widthOf(set.series.n)))) : 14;
  const plan = axes(figure, view, domainX, domainY, room, logX);
  const { x, y, root, area } = plan;
  const layer = svg("g", { "clip-path": `url(#${view.id})` }), overlay = svg("g");
  root.append(svg("clipPath", { id: view.id }, svg("rect", { x: area.left - 6, y: area.top - 6, width: area.right - area.left + 12, height: area.bottom - area.top + 12 })), layer);
  for (const target of figure.targets || []) {
    if (target < domainY[0] || target > domainY[1]) continue;
    const above = sets.filter(({ points }) => points.length && points[points.length - 1].y >= target).length * 2 >= sets.length;
    overlay.append(svg("line", { class: "target", x1: area.left, x2: area.right, y1: y(target), y2: y(target) }),
      svg("text", { x: area.right - 6, y: y(target) + (above ? 14 : -6), "text-anchor": "end", class: "strong halo" }, `target ${FORMATS[figure.format].tick(target)}${FORMATS[figure.format].unit}`));
  }
  sets.forEach(({ series, points }, order) => {
    if (!points.length) return;
    const group = svg("g", { "data-o": series.o, style: `--c:var(--o${series.o})`, class: view.focus !== null && view.focus !== series.o ? "dim" : null });
    const trail = isStep(figure) ? stepped(points, domainX[1]) : points;
    if (banded || view.focus === series.o) group.append(...bands(trail, x, y, isStep(figure)));
    if (series.basin) group.append(svg("path", { class: "basin", d: path(basin(series, points), x, y) }));
    group.append(svg("path", { class: "line", d: path(trail, x, y), "stroke-dasharray": dash(series.o) }));
    const wanted = points.filter(inside), every = Math.max(1, Math.ceil(wanted.length / (figure.kind === "sweep" ? 60 : 7)));
    if (figure.kind !== "survival" || points.length > 1)
      wanted.forEach((point, index) => { if ((index + order) % every === 0) group.append(marker(series.o, x(point.x), y(point.y), 3.4)); });
    const own = series.own ? onLine(points, series.own) : null;
    if (own) group.append(svg("circle", { class: "ring", style: "fill:none", cx: x(own.x), cy: y(own.y), r: 7 }));
    for (const mark of series.marks || [])
      if (mark[view.unit] !== undefined) group.append(sets.length > 8 ? "" : svg("line", { x1: x(mark[view.unit]), x2: x(mark[view.unit]), y1: y(mark.y), y2: area.bottom, stroke: "var(--c)", "stroke-dasharray": "1 3" }),
        svg("circle", { class: "ring mark", cx: x(mark[view.unit]), cy: y(mark.y), r: sets.length > 8 ? 3.2 : 5 }));
    layer.append(group);
  });
  root.append(overlay);
  endLabels(root, ends, domainX, x, y, area, view, isStep(figure));
  const stops = [...new Set(all.filter(inside).map((point) => point.x))].sort((a, b) => a - b);
  const says = (at) => ({
    head: figure.x ? `${figure.x} = ${formatX(at)}` : figure.kind === "profile" ? `within ${formatX(at)} × the fastest (${UNITS[view.unit]})` : `${formatX(at)} ${UNITS[view.unit]}`,
    rows: sets.map(({ series, points }) => ({ series, point: valueAt(points, at, isStep(figure), stops) })).filter((row) => row.point)
      .sort((a, b) => b.point.y - a.point.y)
      .map(({ series, point }) => ({ o: series.o, name: series.n, value: withBand(point, FORMATS[figure.format]), more: figure.kind === "survival" ? `${point.k} at risk` : seeds(point.k) })),
  });
  return { ...plan, stops, says, horizontal: true, cut, banded };
}
// The part of the axis that contains nearly all values of a percentage, if it is small; a button shows the full axis.
function cutOf(figure, sets) {
  if (figure.format !== "percent" || isStep(figure)) return null;
  const values = sets.flatMap(({ points }) => points.map((point) => point.y)).sort((a, b) => a - b), whole = extent(values);
  if (values.length < 10) return null;
  const least = Math.min(values[Math.floor(values.length * 0.12)], ...(figure.targets || [])), most = Math.max(whole[1], ...(figure.targets || []));
  const pad = (most - least) * 0.25;
  return most > least && (most - least + pad) * 2 < most - whole[0] ? [least - pad, Math.min(1 + pad * 0.1, most + pad * 0.4)] : null;
}
// Whether positive values span so many decades that the axis starts logarithmic.
function spansDecades(figure) {
  if (figure.kind !== "lines" || figure.format !== "number") return false;
  const values = figure.series.flatMap((series) => series.y).filter((value) => value !== null), ends = extent(values);
  return Boolean(ends) && ends[0] > 0 && ends[1] / ends[0] >= 50;
}
function rangeY(figure, view, sets, inside, banded) {
  if (figure.format === "share") return [0, 1];
  const values = [];
  for (const { points } of sets) for (const point of points) if (inside(point)) {
    values.push(point.y);
    if (banded && figure.kind !== "sweep") values.push(point.lo, point.hi);
  }
  if (!view.zoom) for (const target of figure.targets || []) values.push(target);
  const positive = view.log ? values.filter((value) => value > 0) : values;
  let [least, most] = extent(positive) || [0, 1];
  if (view.log) return least === most ? [least / 2, most * 2] : [least / 1.1, most * 1.1];
  const pad = (most - least || Math.abs(most) || 1) * 0.05;
  const floor = least >= 0 && least - pad < 0 ? 0 : least - pad;
  const cap = figure.format === "percent" && most <= 1 ? Math.min(1.004, most + pad) : most + pad;
  return [floor, cap];
}
function stepped(points, end) {
  const trail = [];
  points.forEach((point, index) => {
    if (index) trail.push({ ...points[index - 1], x: point.x });
    trail.push(point);
  });
  const last = points[points.length - 1];
  if (last.x < end && last.y > 0) trail.push({ ...last, x: end });
  return trail;
}
const path = (points, x, y) => points.map((point, index) => `${index ? "L" : "M"}${x(point.x).toFixed(1)} ${clamp(y(point.y)).toFixed(1)}`).join("");
const clamp = (value) => Math.max(-9999, Math.min(9999, Number.isFinite(value) ? value : 9999));
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
// Linear interpolation between two points over a logarithmic x axis.
function onLine(points, x) {
  const after = points.findIndex((point) => point.x >= x * (1 - 1e-9));
  if (after < 0 || x < points[0].x * (1 - 1e-9)) return null;
  if (!after || Math.abs(points[after].x - x) <= 1e-9 * x) return { ...points[after] };
  const [from, to] = [points[after - 1], points[after]], share = Math.log(x / from.x) / Math.log(to.x / from.x);
  return { x, y: from.y + share * (to.y - from.y) };
}
function basin(series, points) {
  if (!series.basin) return [];
  const [low, high] = series.basin, inner = points.filter((point) => point.x > low && point.x < high);
  return [onLine(points, low), ...inner, onLine(points, high)].filter(Boolean);
}
function valueAt(points, at, step, stops) {
  if (!points.length) return null;
  if (step) return points.filter((point) => point.x <= at * (1 + 1e-9)).pop() || null;
  const near = points.reduce((best, point) => (Math.abs(point.x - at) < Math.abs(best.x - at) ? point : best));
  const gap = stops.length > 1 ? (stops[stops.length - 1] - stops[0]) / (stops.length - 1) : Infinity;
  const own = points.length > 1 ? (points[points.length - 1].x - points[0].x) / (points.length - 1) : gap;
  return Math.abs(near.x - at) <= 0.75 * Math.max(gap, own) ? near : null;
}
function endLabels(root, sets, domain, x, y, area, view, step) {
  const labels = sets.map(({ series, points }) => {
    const last = points.filter((point) => point.x <= domain[1] * (1 + 1e-9) + 1e-12).pop();
    if (!last) return null;
    const height = Math.max(area.top, Math.min(area.bottom, y(last.y)));
    return { series, from: [step && last.y > 0 ? area.right : Math.min(area.right, x(last.x)), height], at: height };
  }).filter(Boolean).sort((a, b) => a.at - b.at);
  const gap = 14.5;
  for (let turn = 0; turn < 60; turn++)
    labels.forEach((label, index) => {
      const above = labels[index - 1];
      if (above && label.at - above.at < gap) { const push = (gap - (label.at - above.at)) / 2; above.at -= push; label.at += push; }
      label.at = Math.max(area.top + 2, Math.min(area.bottom - 2, label.at));
    });
  const names = distinct(labels.map(({ series }) => series.n), 150);
  labels.forEach(({ series, from, at }, index) => {
    root.append(svg("g", { "data-o": series.o, style: `--c:var(--o${series.o})`, class: view.focus !== null && view.focus !== series.o ? "dim" : null },
      svg("line", { class: "leader", x1: from[0] + 3, y1: from[1], x2: area.right + 10, y2: at }),
      svg("text", { x: area.right + 14, y: at + 4, class: "strong", "unicode-bidi": "plaintext" }, names[index])));
  });
}

// Axes with ticks; `room` is kept free on the right.
function axes(figure, view, domainX, domainY, room, logX) {
  const format = FORMATS[figure.format];
  const probe = view.log ? logarithmic(domainY, [0, 1]).ticks(5) : linear(domainY, [0, 1]).ticks(5);
  const left = 14 + Math.max(12, ...probe.map((tick) => widthOf(format.tick(tick))));
  const area = { left, right: view.width - room, top: 26, bottom: view.height - 40 };
  const x = (logX ? logarithmic : linear)(domainX, [area.left, area.right]);
  const y = (view.log ? logarithmic : linear)(domainY, [area.bottom, area.top]);
  const root = svg("svg", { viewBox: `0 0 ${view.width} ${view.height}`, width: view.width, height: view.height, "aria-hidden": "true", focusable: "false" });
  for (const tick of y.ticks(view.height > 300 ? 6 : 4))
    root.append(svg("line", { class: "grid", x1: area.left, x2: area.right, y1: y(tick), y2: y(tick) }), svg("text", { x: area.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format.tick(tick)));
  for (const tick of x.ticks(Math.max(2, Math.floor((area.right - area.left) / 85))))
    root.append(svg("line", { class: "axis", x1: x(tick), x2: x(tick), y1: area.bottom, y2: area.bottom + 4 }), svg("text", { x: x(tick), y: area.bottom + 18, "text-anchor": "middle", class: "tick-x" }, formatX(tick)));
  const labelY = `${figure.y}${format.unit ? ` (${format.unit.trim()})` : ""}${view.log ? ", log scale" : ""}`;
  const label = figure.x || (figure.kind === "profile" ? `multiple of the fastest time (in ${UNITS[view.unit]})` : UNITS[view.unit]);
  root.append(svg("line", { class: "axis", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }),
    svg("text", { x: (area.left + area.right) / 2, y: area.bottom + 35, "text-anchor": "middle", class: "label-x" }, label),
    svg("text", { x: 0, y: 12, class: "label-y" }, labelY));
  return { root, area, x, y };
}
