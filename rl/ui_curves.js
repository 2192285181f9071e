// Curves
const ruleOfMetric = new Map();
const patternOf = (text) => new RegExp(`^${text.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".+")}$`);
const RULES = [["Held-out score", "Bars: standard error over prompts.", "mean score", /^eval\/.+\/avg@/]];
for (const { title, note, units } of CHARTS) {
  for (const [unit, patterns] of Object.entries(units)) patterns.split(" ").forEach((text) => RULES.push([title, note, unit, patternOf(text)]));
}
RULES.splice(RULES.findLastIndex((rule) => rule[0] === "Staleness") + 1, 0, ["Staleness", "", "samples", /^rollout\/staleness\/\d+$/]);
RULES.push(["Reward components", "Before they are normalised and weighed.", "", /^reward\//], ["Time", "", "seconds", /^time\//], ["More of the evaluations", "", "", /^eval\//], ["Everything else", "", "", /./]);
const ORDER = [...new Set(RULES.map((rule) => rule[0]))], CLOSED = new Set(["More of the evaluations", "Everything else"]);
const ERRORS = /^eval\/.+\/(gain_|sampling_)?se@/, AGE = /^rollout\/staleness\/(\d+)$/, AGES = "rollout/staleness/0"; // one panel for all ages
const COMPONENTS = RULES.find((rule) => rule[0] === "Reward components");
const ruleOf = (metric) => ruleOfMetric.get(metric);
function setRules(names) { // the mean of a component, unlike that of a task, has a rate of equal groups beside it
  const isComponent = (name) => /^reward\/.+\/mean$/.test(name) && names.has(name.replace(/mean$/, "zero_variance_rate"));
  ruleOfMetric.clear();
  names.forEach((name) => ruleOfMetric.set(name, isComponent(name) ? COMPONENTS : RULES.find((rule) => rule[3].test(name))));
}
const panels = new Map();
let layoutKey = "";
const watcher = new IntersectionObserver((found) => found.forEach(({ target, isIntersecting }) => {
  const panel = panels.get(target.dataset.metric);
  if (!panel || panel.card !== target) return;
  panel.isSeen = isIntersecting;
  if (isIntersecting && panel.isDirty) draw(panel);
}), { rootMargin: "300px" });

function showCurves() {
  const wanted = at("metric-find").value.trim().toLowerCase(), all = new Set();
  chosen.forEach((run) => run.metrics.forEach((name) => {
    if (name !== "step" && !ERRORS.test(name)) all.add(AGE.test(name) ? AGES : name);
  }));
  const names = new Set([...all].filter((name) => name.toLowerCase().includes(wanted)));
  const key = [...names].sort().join("\n");
  if (key !== layoutKey) { layoutKey = key; setRules(all); layOut([...names], Boolean(wanted)); }
  const isChanged = [...chosen.keys()].join("\n") !== showCurves.shown || [...chosen.values()].some((run) => run.isDirty);
  showCurves.shown = [...chosen.keys()].join("\n");
  chosen.forEach((run) => { run.isDirty = false; });
  at("keys").replaceChildren(...[...chosen.values()].map(keyFor));
  at("no-curves").hidden = names.size > 0;
  panels.forEach((panel) => {
    panel.isDirty ||= isChanged;
    if (panel.isDirty && panel.isSeen) draw(panel);
  });
}
function keyFor(run, text) {
  const key = element("span", "key", typeof text === "string" ? text : run.name === "." ? shortName(".") : run.name);
  key.style.setProperty("--c", `var(${inkOf(run)})`);
  key.title = run.name;
  return key;
}
function layOut(names, isFiltered) {
  const open = new Map([...at("sections").children].map((section) => [section.dataset.title, section.open]));
  panels.forEach((panel) => { watcher.unobserve(panel.card); if (panel.place.data) Plotly.purge(panel.place); });
  panels.clear();
  const bySection = new Map(ORDER.map((title) => [title, []]));
  names.forEach((name) => bySection.get(ruleOf(name)[0]).push(name));
  const made = [];
  for (const [title, metrics] of bySection) {
    if (!metrics.length) continue;
    const section = element("details", "section"), summary = element("summary", "", title), grid = element("div", "panels");
    section.dataset.title = title;
    section.open = isFiltered || (open.get(title) ?? !CLOSED.has(title));
    summary.append(element("span", "dim small", ruleOf(metrics[0])[1] || `${metrics.length} metrics`));
    const place = (name) => RULES.indexOf(ruleOf(name));
    metrics.sort((a, b) => place(a) - place(b) || a.localeCompare(b, undefined, { numeric: true })).slice(0, 400).forEach((name) => grid.append(makePanel(name)));
    section.append(summary, grid);
    made.push(section);
  }
  at("sections").replaceChildren(...made);
  panels.forEach((panel) => watcher.observe(panel.card));
}
function makePanel(metric) {
  const card = element("section", "card panel"), title = element("h3", "", AGE.test(metric) ? "rollout/staleness, by age" : metric);
  const latest = element("div", "latest number"), place = element("div", "plot");
  if (ruleOf(metric)[2]) title.append(element("span", "dim", ` · ${AGE.test(metric) ? "share" : ruleOf(metric)[2]}`));
  card.dataset.metric = metric;
  card.append(title, latest, place);
  panels.set(metric, { metric, card, latest, place, isSeen: false, isDirty: true });
  return card;
}
function pointsOf(run, metric) {
  const x = [], y = [], errors = [], error = metric.replace("/avg@", "/se@");
  for (const row of run.rows) {
    if (!Number.isFinite(row[metric]) || !Number.isFinite(row.step)) continue;
    x.push(row.step);
    y.push(row[metric]);
    errors.push(error !== metric && Number.isFinite(row[error]) ? row[error] : null);
  }
  return { x, y, errors: errors.some((value) => value !== null) ? errors : null };
}
function agesOf(run) {
  const counts = new Map();
  run.rows.forEach((row) => Object.keys(row).forEach((name) => {
    const age = AGE.exec(name);
    if (age && Number.isFinite(row[name])) counts.set(+age[1], (counts.get(+age[1]) || 0) + row[name]);
  }));
  const x = [...counts.keys()].sort((a, b) => a - b), total = [...counts.values()].reduce((a, b) => a + b, 0) || 1;
  return { x, y: x.map((age) => counts.get(age) / total) };
}
function draw(panel) {
  panel.isDirty = false;
  const isAge = AGE.test(panel.metric), traces = [], keys = [];
  for (const run of chosen.values()) {
    const { x, y, errors } = isAge ? agesOf(run) : pointsOf(run, panel.metric), ink = color(inkOf(run));
    if (!x.length) continue;
    const shared = { x, y, name: escaped(shortName(run.name)), hovertemplate: `%{y:.4~g}  ${escaped(shortName(run.name))}<extra></extra>`, marker: { color: ink, size: x.length > 2 ? 3.5 : 7 } };
    const dash = run.number < NUM_INKS ? "solid" : "dash";
    traces.push(isAge ? { ...shared, type: "bar" } : { ...shared, type: "scatter", mode: x.length > 60 ? "lines" : "lines+markers", line: { color: ink, width: 1.8, dash }, ...(errors && { error_y: { type: "data", array: errors, color: ink, thickness: 1.3, width: 4 } }) });
    if (!isAge) keys.push(keyFor(run, `${+y[y.length - 1].toPrecision(4)}`));
  }
  panel.latest.replaceChildren(...keys);
  Plotly.react(panel.place, traces, layoutOf(traces, isAge), { responsive: true, displaylogo: false, displayModeBar: false });
}
function layoutOf(traces, isAge) {
  const dim = color("--dim"), steps = traces.flatMap((trace) => [trace.x[0], trace.x[trace.x.length - 1]]), span = Math.max(...steps) - Math.min(...steps);
  const axis = { zerolinecolor: color("--line"), linecolor: color("--line"), tickfont: { size: 11, color: dim } };
  const lines = isAge ? [] : [...chosen.values()].flatMap((run) => run.events).filter((event) => Number.isFinite(event.step)).slice(-MAX_LINES);
  return {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", margin: { l: 52, r: 8, t: 6, b: 32 }, showlegend: false, barmode: "group",
    font: { family: "system-ui, sans-serif", size: 12, color: color("--text") }, hovermode: "x unified",
    hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--text"), size: 12 } },
    yaxis: { ...axis, gridcolor: color("--grid"), nticks: 6, exponentformat: "e", ...(isAge && { rangemode: "tozero" }) },
    xaxis: { ...axis, showgrid: false, zeroline: false, ...((span < 6 || isAge) && { dtick: 1 }), unifiedhovertitle: { text: `${isAge ? "age" : "step"} %{x}` }, title: { text: isAge ? "steps old" : "step", font: { size: 11, color: dim }, standoff: 4 } },
    shapes: [...new Set(lines.map((event) => event.step))].map((x) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: color("--bad"), width: 1, dash: "dot" } })),
  };
}
