// Shared code: the page's data, state, elements, number formatting, scales, markers.
const { entries: ENTRIES, arrays: ARRAYS, columns: COLUMNS, figures: FIGURES } = JSON.parse(document.getElementById("data").textContent);
const MANY = ENTRIES.some((entry) => entry.shared); // entries of a family share a style, and the baseline is emphasised
const state = { unit: "epoch", hidden: new Set(), focus: null };
const listeners = [];
const changed = () => listeners.forEach((listener) => listener());
const shown = (series) => series.filter((each) => !state.hidden.has(each.o));
// Records of a panel are stored as tables (optbench.report.page.packing). A record without a name has that of its entry.
function records(tables) {
  return tables.flatMap(({ count, all, each }) => Array.from({ length: count }, (_, index) => {
    const record = { ...all };
    for (const [part, column] of Object.entries(each)) record[part] = COLUMNS[column][index];
    if (record.o !== undefined) record.n ??= ENTRIES[record.o].name;
    return record;
  }));
}
for (const panel of FIGURES.flatMap((figure) => figure.panels)) {
  panel.marks = records(panel.marks);
  if (panel.rows) panel.rows = records(panel.rows);
}
// Marks of lines and points refer to arrays by index, as they share many.
for (const mark of FIGURES.flatMap((figure) => figure.panels).flatMap((panel) => panel.marks)) {
  if (mark.m === "contours") mark.lines = mark.lines.map((line) => line.map((index) => ARRAYS[index]));
  if (mark.m !== "line" && mark.m !== "points") continue;
  for (const part of ["x", "y", "lo", "hi"]) if (mark[part] !== undefined) mark[part] = ARRAYS[mark[part]];
  if (Array.isArray(mark.k)) mark.k = ARRAYS[mark.k[0]];
}

function make(kind, tag, attributes, children) {
  const element = kind ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
const svg = (tag, attributes, ...children) => make(true, tag, attributes, children);
const html = (tag, attributes, ...children) => make(false, tag, attributes, children);

// ---- width of text in the figures' font
const ruler = document.createElement("canvas").getContext("2d");
ruler.font = `12px ${getComputedStyle(document.documentElement).getPropertyValue("--sans") || "sans-serif"}`;
const widthOf = (text) => ruler.measureText(text).width;

// Names shortened to a width and still distinct: a common beginning is cut first, then the middle.
function distinct(names, room) {
  const words = names.map((name) => name.split(" "));
  let same = 0;
  while (names.length > 1 && words.every((each) => each.length > same + 1 && each[same] === words[0][same])) same++;
  const cut = (text, wide) => {
    const letters = [...text];
    for (let kept = letters.length; kept > 1; kept--) {
      const head = kept === letters.length ? text : `${letters.slice(0, Math.ceil(kept / 3)).join("").trimEnd()}…${letters.slice(letters.length - Math.floor((2 * kept) / 3)).join("").trimStart()}`;
      if (widthOf(head) <= wide) return head;
    }
    return "…";
  };
  const short = names.map((name, index) => (widthOf(name) <= room ? name : cut(same > 1 ? `${words[index][0]} … ${words[index].slice(same).join(" ")}` : name, room)));
  return short.map((name, index) => (short.indexOf(name) === short.lastIndexOf(name) ? name : `${cut(name, room - 26)} #${index + 1}`));
}
// The lines of a text, broken between words; the rest after `most` lines is shortened.
function linesOf(text, room, most) {
  const lines = [];
  for (const word of text.split(" ")) {
    const joined = lines.length ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines.length && (widthOf(joined) <= room || lines.length === most)) lines[lines.length - 1] = joined;
    else lines.push(word);
  }
  return lines.map((line) => distinct([line], room)[0]);
}

// ---- number formatting
function decimal(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(Math.max(0, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e");
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en", { maximumFractionDigits: Math.min(decimals, 12) }).replace(/^-/, "−");
}
function bytes(value) {
  const powers = ["B", "kB", "MB", "GB", "TB"];
  const power = value ? Math.min(4, Math.max(0, Math.floor(Math.log10(value) / 3))) : 0;
  return `${decimal(value / 1000 ** power)} ${powers[power]}`;
}
const FORMATS = {
  percent: { unit: " %", tick: (value) => decimal(100 * value, 6), full: (value) => `${(100 * value).toFixed(2)} %` },
  points: { unit: " points", tick: (value) => decimal(100 * value, 6), full: (value) => `${(100 * value).toFixed(2)} points` },
  share: { unit: "", tick: (value) => decimal(value, 6), full: (value) => decimal(value) },
  number: { unit: "", tick: (value) => decimal(value, 6), full: (value) => decimal(value, 4) },
  bytes: { unit: "", tick: bytes, full: bytes },
};
const formatX = (value) => decimal(value, 4);
const withBand = (point, full) =>
  point.lo === null || point.lo === undefined || point.hi === null || point.hi === undefined
    ? full(point.y)
    : `${full(point.y)} (${full(point.lo).replace(" %", "")} to ${full(point.hi).replace(" %", "")})`;
const seeds = (n) => (n === undefined || n === null ? "" : `${n} seed${n === 1 ? "" : "s"}`);

// ---- scales
function linear([from, to], [start, end]) {
  const scale = (value) => start + ((value - from) / (to - from || 1)) * (end - start);
  scale.back = (place) => from + ((place - start) / (end - start || 1)) * (to - from);
  scale.ticks = (wanted) => {
    const raw = (to - from) / Math.max(1, wanted);
    if (!(raw > 0)) return [from];
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw * 0.999);
    const ticks = [];
    for (let index = Math.ceil(from / step - 1e-9); index * step <= to + step * 1e-9; index++) ticks.push(+(index * step).toPrecision(12));
    return ticks;
  };
  return scale;
}
function logarithmic([from, to], range) {
  const inner = linear([Math.log10(from), Math.log10(to)], range);
  const scale = (value) => inner(Math.log10(value));
  scale.back = (place) => 10 ** inner.back(place);
  scale.ticks = (wanted) => {
    const decades = Math.log10(to / from);
    const within = (ticks) => ticks.filter((tick) => tick >= from * 0.999 && tick <= to * 1.001);
    if (decades < 0.7) return linear([from, to], range).ticks(wanted);
    const each = decades > 2.2 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 5];
    const skip = Math.max(1, Math.ceil(decades / wanted));
    const ticks = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++)
      if (((power % skip) + skip) % skip === 0) for (const part of each) ticks.push(+(part * 10 ** power).toPrecision(6));
    return within(ticks);
  };
  return scale;
}

// ---- marker, dash pattern and legend key of an entry
const STAR = Array.from({ length: 10 }, (_, index) => {
  const radius = index % 2 ? 0.5 : 1.25, angle = -Math.PI / 2 + (index * Math.PI) / 5;
  return `${(radius * Math.cos(angle)).toFixed(3)},${(radius * Math.sin(angle)).toFixed(3)}`;
});
const PENTAGON = Array.from({ length: 5 }, (_, index) => {
  const angle = -Math.PI / 2 + (index * 2 * Math.PI) / 5;
  return `${(1.1 * Math.cos(angle)).toFixed(3)},${(1.1 * Math.sin(angle)).toFixed(3)}`;
});
const PLUS = "M-.38 -1H.38V-.38H1V.38H.38V1H-.38V.38H-1V-.38H-.38Z";
const SHAPES = {
  s: "M-.85 -.85H.85V.85H-.85Z", "^": "M0 -1.1L1.05 .8H-1.05Z", v: "M0 1.1L1.05 -.8H-1.05Z", D: "M0 -1.2L1.2 0L0 1.2L-1.2 0Z",
  P: PLUS, X: PLUS, ">": "M1.1 0L-.8 1.05V-1.05Z", p: `M${PENTAGON.join("L")}Z`, "*": `M${STAR.join("L")}Z`,
};
function marker(o, x, y, size, attributes = {}, shape = ENTRIES[o].marker) {
  const place = `translate(${x.toFixed(1)} ${y.toFixed(1)})`;
  if (!SHAPES[shape]) return svg("circle", { transform: place, r: size, class: "point", ...attributes });
  const turn = shape === "X" ? " rotate(45)" : "";
  return svg("path", { transform: `${place}${turn} scale(${size})`, d: SHAPES[shape], class: "point", "vector-effect": "non-scaling-stroke", ...attributes });
}
const dash = (o, width = 1.9) => ENTRIES[o].dash.map((length) => length * width).join(" ") || null;
function key(o) {
  return svg("svg", { width: 26, height: 12, viewBox: "0 0 26 12", style: `--c:var(--o${o})`, "aria-hidden": "true", focusable: "false" },
    svg("line", { x1: 0, x2: 26, y1: 6, y2: 6, stroke: "var(--c)", "stroke-width": 2, "stroke-dasharray": dash(o, 2) }),
    marker(o, 13, 6, 4, { fill: "var(--c)", stroke: "var(--card)" }));
}
