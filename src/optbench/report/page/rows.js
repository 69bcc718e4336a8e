// Figures with one row per entry: dots per seed, stacked bars of memory and time, published and measured values.
const judged = (row) => (row.verdict ? `${{ reproduced: "✓ ", contradicted: "✗ " }[row.verdict] || ""}${row.verdict}` : "");
const LINES = 7; // of an entry's name beside its row
function rowFrame(figure, view, domain, below = 0, beside = 0) {
  const rows = shown(figure.rows), format = FORMATS[figure.format];
  if (!rows.length) return null;
  const title = (row) => (row.top ? `◆ ${row.n}` : row.n), judgement = rows.some((row) => row.verdict) ? 15 : 0;
  const left = Math.min(0.38 * view.width, 16 + Math.max(...rows.flatMap((row) => [widthOf(title(row)), widthOf(judged(row))])));
  const names = rows.map((row) => linesOf(title(row), left - 14, LINES)), tall = Math.max(...names.map((lines) => lines.length));
  names.forEach((lines, index) => { if (names.findIndex((other) => other.join() === lines.join()) !== index) lines.push(`#${index + 1}`); });
  const high = Math.max(24, 14 * tall + 10 + judgement, Math.min(46, (view.height - 60 - below) / rows.length));
  const area = { left: left + beside, right: view.width - 26, top: 8, bottom: 8 + rows.length * high };
  const height = area.bottom + 42 + below;
  const x = linear(domain, [area.left, area.right]);
  const root = svg("svg", { viewBox: `0 0 ${view.width} ${height}`, width: view.width, height, "aria-hidden": "true", focusable: "false" });
  for (const tick of x.ticks(Math.max(2, Math.floor((area.right - area.left) / 80))))
    root.append(svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: area.top, y2: area.bottom }), svg("text", { x: x(tick), y: area.bottom + 16, "text-anchor": "middle", class: "tick-x" }, format.tick(tick)));
  root.append(svg("text", { x: (area.left + area.right) / 2, y: area.bottom + 34, "text-anchor": "middle", class: "label-x" }, `${figure.y}${format.unit ? ` (${format.unit.trim()})` : ""}`));
  const groups = rows.map((row, index) => {
    const middle = area.top + (index + 0.5) * high;
    const group = svg("g", { "data-o": row.o, style: `--c:var(--o${row.o})`, class: view.focus !== null && view.focus !== row.o ? "dim" : null },
      ...names[index].map((line, place) => svg("text", { x: left - 12, y: middle + 4 - judgement / 2 + 14 * (place - (names[index].length - 1) / 2), "text-anchor": "end", class: "strong", "unicode-bidi": "plaintext" }, line)),
      row.verdict ? svg("text", { x: left - 12, y: middle + 5 + 7 * names[index].length, "text-anchor": "end" }, shortened(judged(row), left - 14)) : "");
    root.append(group);
    return { row, middle, group };
  });
  return { root, area, x, groups, height };
}
function drawDots(figure, view) {
  const rows = shown(figure.rows), within = view.zoom?.x || extent(rows.flatMap((row) => [...row.v, row.lo, row.hi]));
  if (!within) return null;
  const pad = view.zoom ? 0 : (within[1] - within[0] || Math.abs(within[0]) || 1) * 0.06;
  const frame = rowFrame(figure, view, [within[0] - pad, within[1] + pad], 0, Math.max(0, ...rows.map((row) => (row.lost ? widthOf(`✖ ${row.ended}`) + 10 : 0))));
  const { x, area, root } = frame;
  const inside = (value) => value !== null && x(value) >= area.left - 4 && x(value) <= area.right + 4;
  for (const { row, middle, group } of frame.groups) {
    const bound = (value) => Math.max(area.left, Math.min(area.right, x(value)));
    if (row.lo !== null && row.hi !== null) group.append(svg("line", { class: "whisker", x1: bound(row.lo), x2: bound(row.hi), y1: middle, y2: middle }));
    row.v.forEach((value, index) => { if (inside(value)) group.append(marker(row.o, x(value), middle - 6.5 + (13 * ((index * 3) % 5)) / 4, 3.4, { class: "seed" })); });
    if (inside(row.mean) && !row.lost) group.append(svg("line", { class: "whisker", x1: x(row.mean), x2: x(row.mean), y1: middle - 9, y2: middle + 9, "stroke-width": 2.4 }));
    if (row.lost) group.append(svg("text", { x: area.left - widthOf(`✖ ${row.ended}`) - 6, y: middle + 4 }, `✖ ${row.ended}`));
  }
  const full = FORMATS[figure.format].full;
  const says = (at) => {
    const { row } = frame.groups[at], found = [];
    if (row.mean !== null) found.push({ o: row.o, name: row.lost ? `mean, ${row.ended} counted as worst` : "mean", value: withBand({ y: row.mean, lo: row.lo, hi: row.hi }, FORMATS[figure.format]), more: seeds(row.v.length + row.lost) });
    row.v.forEach((value, index) => found.push({ name: `seed ${row.seeds[index]}`, value: full(value), more: "" }));
    return { head: row.n, rows: found };
  };
  return { ...frame, stops: frame.groups.map((_, index) => index), says, horizontal: false };
}
function drawBars(figure, view) {
  const rows = shown(figure.rows), sums = rows.map((row) => row.parts.reduce((sum, part) => sum + (part || 0), 0));
  const lines = Math.ceil(figure.kinds.reduce((sum, kind) => sum + 34 + widthOf(kind), 0) / (view.width - 40));
  const frame = rowFrame(figure, view, view.zoom?.x || [0, Math.max(...sums, 1e-9) * 1.02], 24 + 18 * (lines - 1));
  if (!frame) return null;
  const { x, area, root } = frame;
  const pattern = (name, ...parts) => svg("pattern", { id: `${name}${view.id}`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { width: 5, height: 5, fill: "var(--card)" }), ...parts);
  root.prepend(svg("defs", {}, pattern("hatch", svg("line", { y2: 5, stroke: "var(--quiet)", "stroke-width": 2.4 })), pattern("dots", svg("circle", { cx: 2.5, cy: 2.5, r: 1, fill: "var(--quiet)" }))));
  const bound = (value) => Math.max(area.left, Math.min(area.right, x(value)));
  const part = (look, left, right, top, height) => svg("rect", { class: `part ${look}`, x: left, y: top, width: Math.max(0, right - left), height,
    style: look === "hatch" || look === "dots" ? `fill:url(#${look}${view.id})` : null });
  for (const { row, middle, group } of frame.groups) {
    let from = 0;
    row.parts.forEach((size, kind) => { if (size) { group.append(part(figure.looks[kind], bound(from) + (from ? 1 : 0), bound(from + size), middle - 8, 16)); from += size; } });
  }
  let left = 2, line = frame.height - 6 - 18 * (lines - 1);
  figure.kinds.forEach((kind, index) => {
    const needs = 34 + widthOf(kind);
    if (left + needs > view.width && left > 2) { left = 2; line += 18; }
    const of = figure.looks[index] === "own" ? shown(figure.rows).slice(0, 3) : [];
    if (of.length) of.forEach((row, place) => root.append(svg("rect", { x: left + (14 * place) / of.length, y: line - 9, width: 14 / of.length, height: 10, fill: `var(--o${row.o})` })));
    else root.append(part(figure.looks[index], left, left + 14, line - 9, 10));
    root.append(svg("text", { x: left + 19, y: line }, kind));
    left += needs;
  });
  const says = (at) => { const { row } = frame.groups[at]; return { head: row.n, rows: figure.kinds.map((kind, index) => ({ name: kind, value: row.parts[index] === null ? "unknown" : FORMATS[figure.format].full(row.parts[index]), more: "" })) }; };
  return { ...frame, stops: frame.groups.map((_, index) => index), says, horizontal: false };
}
function drawClaims(figure, view) {
  const rows = shown(figure.rows), within = extent(rows.flatMap((row) => [row.value - row.margin, row.value + row.margin, row.mean, row.lo, row.hi]));
  if (!within) return null;
  const pad = (within[1] - within[0] || Math.abs(within[0]) || 1) * 0.08;
  const frame = rowFrame(figure, view, view.zoom?.x || [within[0] - pad, within[1] + pad]), { x, area } = frame, { full, unit } = FORMATS[figure.format];
  const bound = (value) => Math.max(area.left, Math.min(area.right, x(value))), inside = (value) => value !== null && x(value) >= area.left - 4 && x(value) <= area.right + 4;
  for (const { row, middle, group } of frame.groups) {
    const top = middle - 5, below = middle + 8, low = bound(row.value - row.margin), measured = row.mean ?? row.lo;
    if (row.margin) group.append(svg("rect", { class: "margin", x: low, y: middle - 14, width: bound(row.value + row.margin) - low, height: 28 }));
    if (inside(row.value)) group.append(svg("path", { class: "published", d: SHAPES.D, transform: `translate(${x(row.value).toFixed(1)} ${top}) scale(4.4)`, "vector-effect": "non-scaling-stroke" }));
    if (row.lo !== null && row.hi !== null) group.append(svg("line", { class: "whisker", x1: bound(row.lo), x2: bound(row.hi), y1: below, y2: below }));
    if (inside(measured)) group.append(row.mean === null ? svg("text", { x: x(measured) + 4, y: below + 4, class: "strong" }, "→") : marker(row.o, x(measured), below, 4.2));
  }
  const says = (at) => {
    const { row } = frame.groups[at], known = row.mean === null ? `not reached by half of the seeds within ${full(row.lo)}` : row.k ? withBand({ y: row.mean, lo: row.lo, hi: row.hi }, FORMATS[figure.format]) : full(row.mean);
    return { head: row.n, rows: [
      { name: "published", value: full(row.value), more: row.margin ? `± ${decimal(row.margin * (unit ? 100 : 1))}${unit}` : "" },
      { o: row.o, name: "measured", value: known, more: row.k ? seeds(row.k) : "" }, { name: "verdict", value: row.verdict, more: row.reason }] };
  };
  return { ...frame, stops: frame.groups.map((_, index) => index), says, horizontal: false };
}
