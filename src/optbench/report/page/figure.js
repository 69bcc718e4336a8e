// Interaction of a figure: choice of metric, zoom, cursor, and its table.
let figureCount = 0;
// The value in bold, followed by its band.
function valued(text) {
  const [value, band] = text.split(" (");
  return [html("b", {}, value), band ? html("span", {}, ` (${band}`) : null];
}
const live = document.body.appendChild(html("div", { class: "sr", "aria-live": "polite" }));

const startsLog = (figure) => Boolean(figure.panels[0].y.log);
function setUpFigure(element) {
  const choices = element.dataset.figures.split(",").map((index) => FIGURES[+index]);
  const id = `c${figureCount++}`, own = { choice: 0, zoom: null, log: startsLog(choices[0]), cut: true, cursor: null, chart: null, drag: null };
  const figure = () => choices[own.choice];
  const title = element.querySelector(".title"), note = element.querySelector(".note");
  const button = (text, label, action) => html("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick: action }, text);
  const tools = {
    log: button("log", "Logarithmic axis", () => { own.log = !own.log; own.zoom = null; render(); }),
    cut: button("full axis", "Show the whole axis", () => { own.cut = !own.cut; own.zoom = null; render(); }),
    in: button("+", "Zoom in", () => zoomBy(0.5)), out: button("−", "Zoom out", () => zoomBy(2)),
    reset: button("Reset", "Reset zoom", () => { own.zoom = null; render(); }),
  };
  const chooser = choices.length > 1 && html("select", { "aria-label": "Metric shown", onchange: () => { own.choice = chooser.selectedIndex; own.zoom = null; own.log = startsLog(figure()); own.cut = true; render(); fillTable(); } },
    choices.map((each) => html("option", {}, each.title)));
  const head = html("div", { class: "head" });
  title.before(head);
  if (chooser) title.remove();
  head.append(chooser || title, html("div", { class: "controls" }, tools.log, tools.cut, tools.in, tools.out, tools.reset));
  const plot = html("div", { class: "plot", tabindex: "0", role: "application", "aria-roledescription": "interactive figure" });
  const readout = html("div", { class: "readout", hidden: true });
  const alt = html("details", { class: "alt", ontoggle: () => fillTable() }, html("summary", {}, "As a table"), html("div"));
  note.before(html("div", { style: "position:relative" }, plot, readout));
  element.append(alt);

  const panel = () => panelOf(figure(), state.unit);
  function view() {
    const width = state.print ? (element.matches(".wide, .span") ? 690 : 335) : Math.max(260, plot.clientWidth || element.clientWidth - 34 || 640);
    return { id, width, height: element.classList.contains("wide") ? (width < 560 ? 300 : state.print ? 300 : 380) : state.print ? 220 : 270, log: own.log, cut: own.cut, zoom: own.zoom, focus: state.focus };
  }
  function render() {
    const now = panel(), chart = draw(now, view()), lines = now.marks.filter((mark) => mark.m === "line");
    const positive = now.y.format === "number" && lines.length > 0 && !lines.some((line) => line.y.some((value) => value !== null && value <= 0));
    own.chart = chart; own.cursor = null; readout.hidden = true;
    plot.replaceChildren(chart ? chart.root : html("p", { class: "empty" }, "Nothing to show: all optimizers of this figure are hidden."));
    element.hidden = !chart && now.marks.some((mark) => mark.m === "cells");
    title.textContent = figure().title;
    const times = timesOf(figure()), away = times.length && !times.includes(state.unit) ? ` Not available for this time axis; shown in ${now.x.label}.` : "";
    note.textContent = figure().note + away + (chart?.banded === false && lines.some((line) => line.lo) ? " Bands are drawn only for few entries, and for the entry under the pointer in the legend." : "");
    tools.cut.hidden = !chart?.cut && own.cut; tools.cut.setAttribute("aria-pressed", !own.cut);
    tools.log.hidden = !positive; tools.log.setAttribute("aria-pressed", own.log);
    tools.reset.hidden = tools.out.hidden = !own.zoom;
    tools.in.hidden = Boolean(chart && !chart.x);
    plot.setAttribute("aria-label", `${figure().title}. ${chart?.box ? "Arrow keys read values." : "Left and right arrow keys read values, plus and minus zoom, Escape resets."}`);
  }

  // ---- zoom
  const bounds = () => [own.chart.x.back(own.chart.area.left), own.chart.x.back(own.chart.area.right)];
  function zoomTo(x, y) {
    if (Math.abs(own.chart.x(x[1]) - own.chart.x(x[0])) < 1e-6) return;
    own.zoom = { x, y: y || null };
    render();
    live.textContent = `Zoomed to ${formatX(x[0])} to ${formatX(x[1])}`;
  }
  function zoomBy(factor) {
    if (!own.chart?.x || (factor > 1 && !own.zoom)) return;
    const { area, x } = own.chart, at = own.cursor !== null && own.chart.horizontal ? x(own.chart.stops[own.cursor]) : (area.left + area.right) / 2;
    const half = ((area.right - area.left) / 2) * factor, next = [x.back(at - half), x.back(at + half)];
    if (factor > 1) {
      own.zoom = null; render();
      const whole = bounds(), from = Math.max(whole[0], next[0]), to = Math.min(whole[1], next[1]);
      if (from > whole[0] || to < whole[1]) zoomTo([from, to]);
    } else zoomTo(next);
  }

  // ---- cursor
  function point(index, { aloud = false } = {}) {
    const chart = own.chart;
    if (!chart || !chart.stops.length) return;
    own.cursor = Math.max(0, Math.min(chart.stops.length - 1, index));
    const stop = chart.stops[own.cursor], said = chart.says(stop), many = said.rows.slice(0, 14);
    chart.root.querySelector(".cursor")?.remove();
    const box = chart.box?.(stop), place = chart.horizontal ? chart.x(stop) : box ? box.x + box.width : 0, line = box ? null : chart.horizontal
      ? { x1: place, x2: place, y1: chart.area.top, y2: chart.area.bottom }
      : { x1: chart.area.left - 5, x2: chart.area.left - 5, y1: chart.groups[stop].middle - 12, y2: chart.groups[stop].middle + 12, "stroke-width": 3 };
    chart.root.append(box ? svg("rect", { class: "cursor cell", ...box }) : svg("line", { class: "cursor", ...line }));
    const rows = many.map((row) => html("tr", {}, html("th", { scope: "row" }, row.o === undefined ? "" : html("span", { class: "key" }, key(row.o)), html("bdi", {}, row.name)), html("td", {}, valued(row.value)), html("td", { class: "quiet" }, row.more)));
    if (said.rows.length > many.length) rows.push(html("tr", {}, html("td", { colspan: 3 }, `and ${said.rows.length - many.length} more`)));
    readout.replaceChildren(html("bdi", {}, said.head), html("table", { role: "presentation" }, html("tbody", {}, rows)));
    readout.hidden = false;
    const scale = plot.clientWidth / view().width, left = place * scale, room = readout.offsetWidth;
    readout.style.left = chart.horizontal || box ? `${left + room + 24 < plot.clientWidth ? left + 14 : Math.max(0, left - room - 14)}px` : `${Math.max(0, plot.clientWidth - room)}px`;
    readout.style.top = box ? `${(box.y + box.height) * scale + 6}px` : chart.horizontal ? "26px" : `${chart.groups[stop].middle + 16}px`;
    if (aloud) live.textContent = `${said.head}: ${said.rows.map((row) => `${row.name} ${row.value} ${row.more}`).join("; ")}`;
  }
  function leave() {
    if (own.drag) return;
    readout.hidden = true;
    own.chart?.root.querySelector(".cursor")?.remove();
  }
  function at(event) {
    const box = plot.getBoundingClientRect(), scale = view().width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }
  function nearest([x, y]) {
    const away = ({ x: left, y: top, width: wide, height: high }) => Math.hypot(left + wide / 2 - x, top + high / 2 - y);
    const distance = (stop) => (own.chart.box ? away(own.chart.box(stop)) : own.chart.horizontal ? Math.abs(own.chart.x(stop) - x) : Math.abs(own.chart.groups[stop].middle - y));
    return own.chart.stops.reduce((best, stop, index, stops) => (distance(stop) < distance(stops[best]) ? index : best), 0);
  }
  // The stop below or above: of cells the next one in that direction.
  function beyond(here, step) {
    const { box, stops } = own.chart;
    if (!box || here < 0) return here + step;
    const from = box(stops[here]), far = (stop) => step * (box(stop).y - from.y);
    const found = stops.filter((stop) => far(stop) > 1).sort((a, b) => far(a) - far(b) || Math.abs(box(a).x - from.x) - Math.abs(box(b).x - from.x));
    return found.length ? stops.indexOf(found[0]) : here;
  }
  plot.addEventListener("pointerdown", (event) => {
    if (!own.chart?.x || event.button !== 0) return;
    own.drag = { from: at(event), box: own.chart.root.appendChild(svg("rect", { class: "drag" })), tall: false };
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    if (!own.chart) return;
    const now = at(event), { area } = own.chart;
    if (!own.drag) return point(nearest(now));
    const { from, box } = own.drag, inside = (value, low, high) => Math.max(low, Math.min(high, value));
    const xs = [from[0], now[0]].map((value) => inside(value, area.left, area.right)).sort((a, b) => a - b);
    own.drag.tall = Boolean(own.chart.y) && Math.abs(now[1] - from[1]) > 40 && event.pointerType !== "touch";
    const ys = own.drag.tall ? [from[1], now[1]].map((value) => inside(value, area.top, area.bottom)).sort((a, b) => a - b) : [area.top, area.bottom];
    own.drag.xs = xs; own.drag.ys = ys;
    for (const [name, value] of Object.entries({ x: xs[0], width: xs[1] - xs[0], y: ys[0], height: ys[1] - ys[0] })) box.setAttribute(name, value);
  });
  plot.addEventListener("pointerup", (event) => {
    const drag = own.drag;
    own.drag = null;
    drag?.box.remove();
    if (drag?.xs && drag.xs[1] - drag.xs[0] > 8) zoomTo(drag.xs.map(own.chart.x.back), drag.tall ? [own.chart.y.back(drag.ys[1]), own.chart.y.back(drag.ys[0])] : null);
    else if (own.chart) point(nearest(at(event)));
  });
  plot.addEventListener("pointercancel", () => { own.drag?.box.remove(); own.drag = null; leave(); });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("dblclick", () => { own.zoom = null; render(); });
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !own.chart) return;
    const last = own.chart.stops.length - 1, here = own.cursor ?? -1, move = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowRight: () => point(here + move, { aloud: true }), ArrowLeft: () => point(here < 0 ? last : here - move, { aloud: true }),
      ArrowDown: own.chart.horizontal ? null : () => point(beyond(here, 1), { aloud: true }), ArrowUp: own.chart.horizontal ? null : () => point(beyond(here, -1), { aloud: true }),
      Home: () => point(0, { aloud: true }), End: () => point(last, { aloud: true }),
      "+": () => zoomBy(0.5), "=": () => zoomBy(0.5), "-": () => zoomBy(2), Escape: () => { own.zoom = null; render(); live.textContent = "Zoom reset"; }, 0: () => { own.zoom = null; render(); },
    };
    if (actions[event.key]) { actions[event.key](); event.preventDefault(); }
  });

  // ---- table of the figure's values
  function fillTable() {
    if (!alt.open || !own.chart) return;
    const stops = own.chart.stops, every = Math.max(1, Math.ceil(stops.length / 200));
    const chosen = stops.filter((_, index) => index % every === 0 || index === stops.length - 1);
    const lines = chosen.flatMap((stop) => { const said = own.chart.says(stop); return said.rows.map((row) => [said.head, row.name, row.value, row.more]); });
    const cells = (row) => row.map((cell, index) => html(index ? "td" : "th", { class: index === 1 ? "text" : null, scope: index ? null : "row" }, html("bdi", {}, cell)));
    alt.lastChild.replaceChildren(html("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${figure().title}, as a table` },
      html("table", {}, html("thead", {}, html("tr", {}, ["position", "series", "value", ""].map((head, index) => (head ? html("th", { scope: "col", class: index === 1 ? "text" : null }, head) : html("td"))))),
        html("tbody", {}, lines.map((row) => html("tr", {}, cells(row)))))));
  }
  listeners.push(() => { own.zoom = state.keepZoom ? own.zoom : null; render(); fillTable(); });
  let width = 0;
  new ResizeObserver(() => { if (Math.abs(plot.clientWidth - width) > 1) { width = plot.clientWidth; render(); } }).observe(plot);
  render();
}
