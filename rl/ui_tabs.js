// Responses: a page of groups at a time, whatever the size of the file
const shownFile = { run: "", file: "", next: null, request: 0 };
const filesOf = new Map();
const mib = (bytes) => (bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
function fillSelect(select, options) {
  const key = JSON.stringify(options);
  if (select.dataset.key === key) return false;
  const before = select.value;
  select.dataset.key = key;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === before)) select.value = before;
  return select.value !== before;
}
async function showResponses() {
  fillSelect(at("sample-run"), [...chosen.keys()].map((name) => [name, name === "." ? shortName(name) : name]));
  const run = at("sample-run").value;
  if (run) filesOf.set(run, await ask("samples", { run }));
  const files = (filesOf.get(run) || []).toReversed();
  const fileName = ({ step, suite, bytes }) => `${suite ? `${suite}, ${step ? `after step ${step}` : "before training"}` : `step ${step}`}  (${mib(bytes)})`;
  fillSelect(at("sample-file"), files.map((file) => [file.file, fileName(file)]));
  at("back").disabled = at("sample-file").selectedIndex >= files.length - 1; // the newest is first
  at("on").disabled = at("sample-file").selectedIndex <= 0;
  if (shownFile.run !== run || shownFile.file !== at("sample-file").value) await showFile();
}
async function showFile() {
  Object.assign(shownFile, { run: at("sample-run").value, file: at("sample-file").value, next: 0, num: 0, unreadable: 0 });
  at("groups").replaceChildren();
  at("more").hidden = true;
  if (shownFile.file) await showMore();
  else at("count").textContent = chosen.size ? "This run keeps no responses: a fine-tuning run has those of its evaluations alone." : "Choose a run on the left.";
}
async function showMore() {
  const request = ++shownFile.request, isFirst = shownFile.next === 0;
  const { run, file, next } = shownFile;
  at("count").textContent = "reading …";
  const page = await ask("groups", { run, file, start: next, kind: at("kind").value, find: at("find").value });
  if (request !== shownFile.request) return; // another file was chosen meanwhile
  best = Math.max(1, isFirst ? 1 : best, ...page.groups.flatMap(scoresOf));
  const made = page.groups.map((group) => groupRow(run, file, group));
  at("groups").append(...made);
  if (isFirst && made.length) made[0].open = true;
  shownFile.next = page.next;
  shownFile.num += page.groups.length;
  shownFile.unreadable += page.num_unreadable;
  at("more").hidden = page.next === null;
  const lost = shownFile.unreadable ? `, ${shownFile.unreadable} lines that hold no group or are too long` : "";
  at("count").textContent = `${shownFile.num} group${shownFile.num === 1 ? "" : "s"}${page.next === null ? "" : " so far"}${lost}`;
}
function linkTo(text, options) {
  const link = element("a", "rest", text);
  link.href = `api/text?${new URLSearchParams(options)}`;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}
function groupRow(run, file, group) {
  const details = element("details", "group"), summary = element("summary"), scores = scoresOf(group), boxes = element("span", "cells");
  const asked = group.messages.length ? plain(group.messages[group.messages.length - 1].content) : group.id;
  boxes.append(...group.responses.map(cell));
  summary.append(element("span", "question", asked), boxes, element("span", "mean number dim", scores.length ? mean(scores).toFixed(2) : "–"));
  details.append(summary);
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(insideOf(run, file, group)); });
  return details;
}
function insideOf(run, file, group) {
  const inside = element("div", "inside"), source = { run, file, at: group.at };
  for (const [name, value] of [...group.messages.map((m) => [m.role, m.content]), ["reference", group.reference]]) {
    const row = element("div", "message");
    row.append(element("span", "", name), element("span", "text", plain(value)));
    inside.append(row);
  }
  group.responses.forEach((r, index) => {
    const row = response(r);
    if (r.characters) row.lastChild.append(linkTo(`all ${r.characters} characters`, { ...source, response: index }));
    inside.append(row);
  });
  if (group.num_responses) inside.append(element("p", "dim small", `${group.num_responses - group.responses.length} more responses are not shown`));
  inside.append(linkTo("the whole group as JSON", source));
  return inside;
}

// Events and configs
function tableOf(head, lines) {
  const table = element("table", "number"), top = element("tr");
  top.append(...head.map((text) => (text instanceof Node ? text : element("th", "", text))));
  table.append(top, ...lines.map((cells) => {
    const row = element("tr");
    row.append(...cells.map(([name, text]) => (text instanceof Node ? text : element("td", name, text))));
    return row;
  }));
  return table;
}
const timeOf = (time) => (isNumber(time) ? new Date(time * 1000).toLocaleString() : plain(time ?? "–"));
function showEvents() {
  const all = [...chosen.values()].flatMap((run) => run.events.map((event) => ({ ...event, run: run.name })));
  const when = ({ time }) => (isNumber(time) ? time : Date.parse(time) / 1000 || 0);
  all.reverse().sort((a, b) => when(b) - when(a));
  const lines = all.map(({ run, time, step, kind, detail }) => [["short", timeOf(time)], ["", run], ["short", plain(step ?? "–")], ["kind short", plain(kind ?? "")], ["value", plain(detail ?? "")]]);
  const isCut = [...chosen.values()].some((run) => run.eventsCut);
  const key = JSON.stringify(lines);
  if (showEvents.key === key) return;
  showEvents.key = key;
  at("events").replaceChildren(lines.length ? tableOf(["time", "run", "step", "kind", "what happened"], lines) : element("p", "empty", "Nothing went wrong in what is chosen on the left."));
  if (isCut) at("events").append(element("p", "empty", "Older events are in the run folder."));
}
async function showConfig() {
  const names = [...chosen.keys()], key = names.join("\n");
  if (!names.length || showConfig.key === key) return;
  const { lines } = await ask("configs", { run: names });
  const head = ["key", ...names.map((name) => { const cellOf = element("th"); cellOf.append(keyFor(chosen.get(name))); return cellOf; })];
  const rows = Object.entries(lines).map(([name, values]) => [["", name], ...values.map((value) => ["value", value])]);
  at("config-note").textContent = names.length > 1 ? `Where the configs of ${names.length} runs differ: ${rows.length} keys.` : "Choose further runs to see where their configs differ.";
  at("config").replaceChildren(rows.length ? tableOf(head, rows) : element("p", "empty", "No key differs."));
  showConfig.key = key;
}

const PAGES = { curves: showCurves, responses: showResponses, events: showEvents, config: showConfig };
function showTab(name) {
  tab = name;
  document.querySelectorAll("[data-tab]").forEach((button) => (button.dataset.tab === tab ? button.setAttribute("aria-current", "page") : button.removeAttribute("aria-current")));
  document.querySelectorAll("[data-page]").forEach((section) => { section.hidden = section.dataset.page !== tab; });
}
function soon(task) {
  let waiting;
  return () => { clearTimeout(waiting); waiting = setTimeout(task, 200); };
}
function safely(task) {
  return () => Promise.resolve(task()).catch((error) => { at("count").textContent = error.message.slice(0, 200); });
}
function move(by) {
  at("sample-file").selectedIndex += by;
  safely(showResponses)();
}
document.querySelectorAll("[data-tab]").forEach((button) => button.addEventListener("click", () => { showTab(button.dataset.tab); writeHash(); refresh(); }));
at("run-find").addEventListener("input", showRuns);
at("metric-find").addEventListener("input", soon(showCurves));
["sample-run", "sample-file"].forEach((id) => at(id).addEventListener("change", safely(showResponses)));
at("kind").addEventListener("change", safely(showFile));
at("find").addEventListener("input", soon(safely(showFile)));
at("more").addEventListener("click", safely(showMore));
at("back").addEventListener("click", () => move(1));
at("on").addEventListener("click", () => move(-1));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panels.forEach((panel) => { panel.isDirty = true; if (panel.isSeen) draw(panel); }));
readHash();
showTab(tab);
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, POLL_MS);
