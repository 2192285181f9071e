const POLL_MS = 2000, LIMIT_MS = 20000, MAX_ROWS = 50000, MAX_LINES = 200, NUM_INKS = 6;
const at = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const inkOf = (run) => `--c${(run.number % NUM_INKS) + 1}`;
let best = 1; // the score that fills a box; `cell` reads it

async function ask(path, options = {}) {
  const query = new URLSearchParams(Object.entries(options).flatMap(([key, value]) => [value].flat().map((one) => [key, one])));
  const answer = await fetch(`api/${path}?${query}`, { signal: AbortSignal.timeout(LIMIT_MS) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// What is chosen: by name, with what has been read of it
const chosen = new Map();
let runs = [], tab = "curves", hasChosen = false;
function choose(name) {
  const taken = new Set([...chosen.values()].map((run) => run.number));
  let number = 0;
  while (taken.has(number)) number += 1;
  chosen.set(name, { name, number, rows: [], place: "", metrics: new Set(), events: [], eventsCut: false });
}
function readHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  if (hash.get("tab") in PAGES) tab = hash.get("tab");
  hash.getAll("run").slice(0, 24).forEach(choose);
  hasChosen = chosen.size > 0;
}
function writeHash() {
  history.replaceState(null, "", `#${new URLSearchParams([["tab", tab], ...[...chosen.keys()].map((name) => ["run", name])])}`);
}

// Runs
const ago = (s) => (s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`);
const shortName = (name) => (name === "." ? document.querySelector("nav b span").textContent : name.split("/").pop());
const entries = new Map();
function makeEntry(name) {
  const label = element("label", `run${name.includes("stages/") ? " stage" : ""}`), box = element("input"), dot = element("span", "dot");
  const title = element("span", "name", shortName(name)), what = element("span", "what");
  box.type = "checkbox";
  label.title = name;
  label.append(box, title, dot, what);
  box.addEventListener("change", () => {
    if (box.checked && chosen.size < 24) choose(name); else chosen.delete(name);
    hasChosen = true;
    writeHash();
    showRuns();
    refresh();
  });
  return { label, box, dot, what };
}
function showRuns() {
  const wanted = at("run-find").value.trim().toLowerCase();
  for (const run of runs) {
    if (!entries.has(run.name)) entries.set(run.name, makeEntry(run.name));
    const { label, box, dot, what } = entries.get(run.name), picked = chosen.get(run.name);
    const steps = run.step === null ? "no step yet" : run.num_steps ? `${run.step} of ${run.num_steps}` : `step ${run.step}`;
    what.textContent = [run.recipe, steps, run.state === "quiet" && run.age_s !== null && `${ago(run.age_s)} ago`].filter(Boolean).join(" · ");
    dot.className = `dot ${run.state}`;
    dot.title = { complete: "complete", live: "wrote within its last steps", quiet: "has written nothing for a while" }[run.state];
    box.checked = Boolean(picked);
    label.style.setProperty("--c", picked ? `var(${inkOf(picked)})` : "");
    label.hidden = !run.name.toLowerCase().includes(wanted);
  }
  const known = new Set(runs.map((run) => run.name));
  [...entries.keys()].filter((name) => !known.has(name)).forEach((name) => entries.delete(name));
  const labels = runs.map((run) => entries.get(run.name).label), shown = [...at("runs").children];
  if (labels.length !== shown.length || labels.some((label, index) => label !== shown[index])) at("runs").replaceChildren(...labels);
  at("no-runs").hidden = runs.length > 0;
}
function chooseNewest() {
  const started = runs.filter((run) => run.step !== null && run.recipe !== "pipeline");
  const newest = started.sort((a, b) => a.age_s - b.age_s)[0] || runs[0];
  if (newest) choose(newest.name);
}

// Rows and events of what is chosen, from where the last answer ended
async function readRun(run) {
  for (let isEnd = false; !isEnd && chosen.get(run.name) === run; ) {
    const page = await ask("rows", { run: run.name, after: run.place });
    if (page.is_fresh) { run.rows = []; run.metrics = new Set(); }
    if (page.rows.length || page.is_fresh) run.isDirty = true;
    run.rows.push(...page.rows.slice(0, Math.max(0, MAX_ROWS - run.rows.length)));
    page.rows.forEach((row) => Object.keys(row).forEach((name) => run.metrics.add(name)));
    run.place = page.place;
    isEnd = page.is_end;
  }
  const { events, is_cut: isCut } = await ask("events", { run: run.name });
  if (JSON.stringify(events) !== JSON.stringify(run.events)) run.isDirty = true;
  run.events = events;
  run.eventsCut = isCut;
}
let isReading = false, isWanted = false;
async function refresh() {
  isWanted = isReading;
  if (isReading) return;
  isReading = true;
  try {
    runs = await ask("runs");
    if (!hasChosen) { chooseNewest(); hasChosen = chosen.size > 0; }
    const known = new Set(runs.map((run) => run.name));
    [...chosen.keys()].filter((name) => !known.has(name)).forEach((name) => chosen.delete(name));
    showRuns();
    await Promise.all([...chosen.values()].map(readRun));
    at("state").textContent = `${runs.filter((run) => run.state === "live").length} live of ${runs.length}`;
    at("state").className = "dim small";
    PAGES[tab]();
  } catch (error) {
    at("state").textContent = `no answer: ${error.message.slice(0, 200)}`;
    at("state").className = "small warning";
  } finally {
    isReading = false;
  }
  if (isWanted) refresh();
}

