// Maps over two hyperparameters: one panel per entry on a common scale, lighter is better (cividis: readable in grey and with colour blindness).
const RAMP = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
function shade(share) {
  const place = Math.max(0, Math.min(1, share)) * (RAMP.length - 1), from = Math.min(RAMP.length - 2, Math.floor(place));
  return RAMP[from].map((value, part) => Math.round(value + (place - from) * (RAMP[from + 1][part] - value)));
}
const ascending = (values) => [...new Set(values)].sort((a, b) => a - b);
function drawMaps(figure, view) {
  // Failed points count as the worst outcome; they are left out of the scale, which they would dominate, and drawn at its dark end.
  const sets = shown(figure.series), known = sets.flatMap((series) => series.z.filter((_, index) => !series.failed[index]));
  const whole = extent(known) || extent(sets.flatMap((series) => series.z));
  if (!whole) return null;
  const { full, unit } = FORMATS[figure.format], short = (value) => (unit ? (100 * value).toFixed(1) : decimal(value));
  const [worst, best] = figure.higher ? whole : [whole[1], whole[0]], share = (value) => (best === worst ? 1 : (value - worst) / (best - worst));
  const columns = Math.max(1, Math.min(sets.length, Math.floor(view.width / 300))), wide = Math.min(520, (view.width - 28 * (columns - 1)) / columns), high = 27;
  const root = svg("svg", { "aria-hidden": "true", focusable: "false" }), cells = [];
  const names = distinct(sets.map((series) => series.n), wide - 20);
  let top = 0, tallest = 0;
  sets.forEach((series, place) => {
    if (place && place % columns === 0) { top += tallest; tallest = 0; }
    const xs = ascending(series.x), ys = ascending(series.y).reverse(), from = (place % columns) * (wide + 28), left = from + 14 + Math.max(...ys.map((y) => widthOf(formatX(y))));
    const across = (from + wide - left) / xs.length, head = top + 38, bottom = head + high * ys.length;
    const boxOf = (index) => ({ x: left + across * xs.indexOf(series.x[index]), y: head + high * ys.indexOf(series.y[index]), width: across - 1, height: high - 1 });
    const group = svg("g", { "data-o": series.o, class: view.focus !== null && view.focus !== series.o ? "dim" : null, style: `--c:var(--o${series.o})` },
      marker(series.o, from + 6, top + 8, 4.2), svg("text", { x: from + 18, y: top + 12, class: "strong", "unicode-bidi": "plaintext" }, names[place]), svg("text", { x: from, y: top + 30, class: "label-y" }, figure.y));
    ys.forEach((y, row) => group.append(svg("text", { x: left - 8, y: head + high * (row + 0.5) + 4, "text-anchor": "end" }, formatX(y))));
    const every = Math.ceil(Math.max(...xs.map((x) => widthOf(formatX(x)) + 10)) / across);
    xs.forEach((x, index) => { if (index % every === 0) group.append(svg("text", { x: left + across * (index + 0.5), y: bottom + 16, "text-anchor": "middle", class: "tick-x" }, formatX(x))); });
    group.append(svg("text", { x: (left + from + wide) / 2, y: bottom + 33, "text-anchor": "middle", class: "label-x" }, figure.x));
    const order = [...series.z.keys()].filter((index) => series.z[index] !== null).sort((a, b) => series.y[b] - series.y[a] || series.x[a] - series.x[b]);
    for (const index of order) {
      const box = boxOf(index), colour = shade(share(series.z[index])), text = short(series.z[index]) + (series.failed[index] ? "†" : "");
      group.append(svg("rect", { ...box, fill: `rgb(${colour})` }));
      if (widthOf(text) + 6 <= across) group.append(svg("text", { x: box.x + across / 2, y: box.y + high / 2 + 4, "text-anchor": "middle", style: `fill:${colour[1] > 115 ? "#111" : "#fff"}` }, text));
      cells.push({ series, index, box });
    }
    if (series.own !== undefined && series.z[series.own] !== null) group.append(svg("rect", { class: "cell", ...boxOf(series.own) }));
    root.append(group);
    tallest = Math.max(tallest, bottom - top + 52);
  });
  const line = top + tallest + 8, start = 6 + widthOf(full(worst));
  const ramp = svg("linearGradient", { id: `ramp${view.id}` }, RAMP.map((colour, index) => svg("stop", { offset: index / (RAMP.length - 1), "stop-color": `rgb(${colour})` })));
  root.append(svg("defs", {}, ramp), svg("text", { x: 0, y: line }, full(worst)), svg("rect", { x: start, y: line - 10, width: 130, height: 11, fill: `url(#ramp${view.id})` }), svg("text", { x: start + 136, y: line }, full(best)));
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${view.width} ${line + 8}`, width: view.width, height: line + 8 })) root.setAttribute(name, value);
  const says = (at) => {
    const { series, index } = cells[at], failed = series.failed[index], value = withBand({ y: series.z[index], lo: series.lo[index], hi: series.hi[index] }, FORMATS[figure.format]);
    return { head: `${figure.x} = ${formatX(series.x[index])}, ${figure.y} = ${formatX(series.y[index])}`, rows: [{ o: series.o, name: series.n, value, more: seeds(series.k[index]) + (failed ? `, ${failed} counted as the worst outcome` : "") }] };
  };
  return { root, stops: [...cells.keys()], box: (at) => cells[at].box, says, horizontal: false };
}
const DRAW = { dots: drawDots, bars: drawBars, claims: drawClaims, maps: drawMaps };
const draw = (figure, view) => (DRAW[figure.kind] || drawLines)(figure, view);
