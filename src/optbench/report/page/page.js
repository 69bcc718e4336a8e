// Page controls: legend, units, theme, tables, copying, printing.
for (const element of document.querySelectorAll("[data-key]")) element.append(key(+element.dataset.key));
for (const row of document.querySelectorAll("tr[data-o]")) row.cells[0].prepend(html("span", { class: "swatch" }, key(+row.dataset.o)));

// ---- the legend
const chips = [...document.querySelectorAll("[data-toggle]")], all = document.getElementById("all");
const groups = [...document.querySelectorAll("[data-family]")].map((button) => ({ button, entries: button.dataset.family.split(",").map(Number) }));
const many = groups.length > 0;
function setHidden(hidden) {
  state.hidden = hidden;
  state.keepZoom = true;
  chips.forEach((chip) => chip.setAttribute("aria-pressed", !hidden.has(+chip.dataset.toggle)));
  groups.forEach(({ button, entries }) => button.setAttribute("aria-pressed", entries.some((o) => !hidden.has(o))));
  for (const row of document.querySelectorAll("tr[data-o]")) row.classList.toggle("off", hidden.has(+row.dataset.o));
  document.querySelectorAll(".table").forEach((table) => table.refilter?.());
  all.hidden = !hidden.size;
  changed();
}
function setFocus(o) {
  state.focus = o;
  if (chips.length > 4 && !many) return requestAnimationFrame(() => { state.keepZoom = true; changed(); });  // bands come and go
  for (const element of document.querySelectorAll(".plot [data-o]")) element.classList.toggle("dim", o !== null && +element.dataset.o !== o);
}
for (const chip of chips) {
  const o = +chip.dataset.toggle;
  chip.title = "Click: hide or show everywhere. Double click: show it alone.";
  chip.addEventListener("click", () => { const hidden = new Set(state.hidden); hidden.delete(o) || hidden.add(o); setHidden(hidden); });
  chip.addEventListener("dblclick", () => showAlone([o]));
  chip.addEventListener("pointerenter", () => setFocus(o));
  chip.addEventListener("pointerleave", () => setFocus(null));
}
function showAlone(entries) {
  const shown = new Set(entries);
  setHidden(new Set(chips.map((each) => +each.dataset.toggle).filter((each) => !shown.has(each))));
}
for (const { button, entries } of groups) {
  button.title = "Click: hide or show the family. Double click: show it alone.";
  button.addEventListener("click", () => {
    const hidden = new Set(state.hidden), off = entries.some((o) => !hidden.has(o));
    entries.forEach((o) => (off ? hidden.add(o) : hidden.delete(o)));
    setHidden(hidden);
  });
  button.addEventListener("dblclick", () => showAlone(entries));
}
const find = document.getElementById("find");
function found() {
  const words = find.value.trim().toLowerCase();
  return chips.filter((chip) => chip.textContent.toLowerCase().includes(words));
}
find?.addEventListener("input", () => {
  const kept = new Set(found());
  chips.forEach((chip) => { chip.hidden = !kept.has(chip); });
  groups.forEach(({ button }) => { button.parentElement.hidden = ![...button.parentElement.querySelectorAll("[data-toggle]")].some((chip) => !chip.hidden); });
});
find?.addEventListener("keydown", (event) => {
  const kept = found();
  if (event.key === "Enter" && kept.length) showAlone(kept.map((chip) => +chip.dataset.toggle));
});
all?.addEventListener("click", () => { setHidden(new Set()); chips[0]?.focus(); });

// ---- the axis of time
const unitButtons = [...document.querySelectorAll("[data-unit]")];
const known = new Set(FIGURES.flatMap(timesOf));
function setUnit(unit) {
  state.unit = unit;
  state.keepZoom = false;
  unitButtons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.unit === unit));
  changed();
}
for (const button of unitButtons) {
  button.disabled = known.size > 0 && !known.has(button.dataset.unit);
  button.addEventListener("click", () => setUnit(button.dataset.unit));
}
if (known.size && !known.has(state.unit)) state.unit = [...known][0];
unitButtons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.unit === state.unit));
if (!known.size) document.querySelector(".segments")?.parentElement.querySelectorAll(".segments, .label").forEach((element) => { element.hidden = true; });

// ---- the theme
const themes = ["auto", "light", "dark"], theme = document.getElementById("theme");
function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[name];
  theme.setAttribute("aria-label", `Theme: ${name}`);
  try { localStorage.setItem("optbench-theme", name); } catch { /* nowhere to remember it */ }
}
if (theme) {
  setTheme(document.documentElement.dataset.theme || "auto");
  theme.addEventListener("click", () => setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3]));
}

// ---- tables: sorting and filtering
const SIZES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
function sortKey(text) {
  const found = text.replace(/−/g, "-").match(/^[^\d+<>-]*([<>]=?)?\s*([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-zA-Zµ]+)?/i);
  if (!found || /^not /.test(text)) return { number: null, text };
  const number = +found[2].replace(/,/g, "") * (SIZES[found[3]] || 1), nudge = Math.abs(number) * 1e-9 + 1e-12;
  return { number: number + (found[1]?.startsWith(">") ? nudge : found[1] ? -nudge : 0), text };
}
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
function compare(a, b, direction) {
  if (a.missing || b.missing) return a.missing - b.missing;
  return direction * (a.number !== null && b.number !== null ? a.number - b.number || 0 : collator.compare(a.text, b.text));
}
for (const table of document.querySelectorAll("table[data-sort]")) {
  const body = table.tBodies[0], original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const words = head.classList.contains("text");
    head.setAttribute("aria-sort", "none");
    head.replaceChildren(html("button", { type: "button", class: "sort", onclick: () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
      heads.forEach((each) => each.setAttribute("aria-sort", each === head ? next : "none"));
      const keys = new Map(original.map((row) => {
        const text = row.cells[column].textContent.replace("◆", "").trim(), of = words ? { number: null, text } : sortKey(text);
        return [row, { ...of, missing: +(text === "–" || text === "" || (!words && of.number === null)) }];
      }));
      const order = next === "none" ? original : [...original].sort((a, b) => compare(keys.get(a), keys.get(b), next === "ascending" ? 1 : -1));
      body.append(...order);
    } }, head.textContent));
  });
  const frame = table.closest(".table"), box = frame.querySelector(".filter"), count = frame.querySelector(".count");
  frame.refilter = () => {
    const wanted = (box?.value || "").trim().toLowerCase();
    let left = 0;
    for (const row of original) {
      row.hidden = row.classList.contains("off") || !row.textContent.toLowerCase().includes(wanted);
      left += !row.hidden;
    }
    if (count) count.textContent = left === original.length ? `${left} rows` : `${left} of ${original.length} rows`;
  };
  box?.addEventListener("input", frame.refilter);
}

// ---- copying
for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", async () => {
  const code = button.parentElement.querySelector("code");
  let done = false;
  try { await navigator.clipboard.writeText(code.textContent); done = true; } catch {
    const range = document.createRange(), selection = getSelection();
    range.selectNodeContents(code); selection.removeAllRanges(); selection.addRange(range);
    try { done = document.execCommand("copy"); } catch { /* it stays selected */ }
  }
  button.textContent = done ? "Copied" : "Selected";
  live.textContent = done ? "Command copied" : "Command selected";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// ---- printing: everything open
let closed = [];
function setPrint(print) {
  Object.assign(state, { print, keepZoom: true });
  changed();
}
addEventListener("beforeprint", () => { closed = [...document.querySelectorAll("main details:not([open]):not(.alt)")]; closed.forEach((each) => { each.open = true; }); setPrint(true); });
addEventListener("afterprint", () => { closed.forEach((each) => { each.open = false; }); setPrint(false); });

// ---- collapse the contents on narrow screens
if (innerWidth < 1320) document.querySelector(".contents details")?.removeAttribute("open");

// ---- height of the toolbar
const bar = document.querySelector(".bar");
const setBar = () => document.documentElement.style.setProperty("--bar", `${(bar?.offsetHeight || 0) + 12}px`);
if (bar) new ResizeObserver(setBar).observe(bar);
setBar();
document.querySelectorAll(".figure").forEach(setUpFigure);
