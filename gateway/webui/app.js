// The page of the workflow: each form is one request of the REST interface, and jobs are followed by server-sent events.
"use strict";

const byId = (id) => document.getElementById(id);
const folder = () => byId("folder").value.trim();

async function ask(path, { method = "GET", json, form } = {}) {
  const options = { method };
  if (json) Object.assign(options, { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } });
  if (form) options.body = form;
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("Timbre does not answer: is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail || `The request failed with status ${response.status}.`);
  return answer;
}

// ── forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") values[field.name] = field.checked;
    else if (field.type === "number") values[field.name] = field.valueAsNumber;
    else values[field.name] = field.value;
  }
  return values;
}

const started = (answer) => `Started as ${answer.job_id}; the list of jobs shows how it goes.`;

const steps = {
  async download(form) {
    const urls = valuesOf(form).urls.split(/\s+/).filter(Boolean);
    const answer = await ask("/training/dataset/download", { method: "POST", json: { urls, folder: folder() } });
    return `${answer.videos} to ${answer.output_folder}. ${started(answer)}`;
  },
  async upload(form) {
    const data = new FormData();
    data.append("folder", folder()); // before the files, so that they need not be kept
    for (const file of form.elements.files.files) data.append("files", file);
    const answer = await ask("/training/dataset/upload", { method: "POST", form: data });
    form.reset();
    return answer.files
      .map((file) => (file.status === "failed" ? `${file.name}: ${file.detail}` : `${file.name}: ${file.status}, ${file.duration.toFixed(1)} s`))
      .join("\n");
  },
  async segment(form) {
    return started(await ask("/training/dataset/segment", { method: "POST", json: { folder: folder(), ...valuesOf(form) } }));
  },
  async transcribe() {
    return started(await ask("/training/dataset/transcribe", { method: "POST", json: { folder: folder() } }));
  },
  async start(form) {
    const answer = await ask("/training/start", { method: "POST", json: { dataset_folder: folder(), ...valuesOf(form) } });
    return `Output goes to ${answer.output_folder}. ${started(answer)}`;
  },
  async synthesize(form) {
    const values = valuesOf(form);
    const answer = await ask("/training/inference/synthesize", { method: "POST", json: values });
    play([[`${values.checkpoint} · ${answer.duration.toFixed(1)} s`, answer.audio_url]]);
    return "";
  },
};

async function run(form, work, button) {
  const output = form.querySelector("output");
  output.textContent = "…";
  output.className = "";
  button.disabled = true;
  try {
    output.textContent = await work(form);
  } catch (error) {
    output.textContent = error.message;
    output.className = "bad";
  } finally {
    button.disabled = false;
    refresh();
  }
}

for (const form of document.querySelectorAll("form[data-step]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form, steps[form.dataset.step], event.submitter || form.querySelector("button"));
  });
}

byId("stop").addEventListener("click", (event) =>
  run(event.target.form, async () => {
    await ask("/training/stop", { method: "POST" });
    return "Stopped; what was learnt is kept.";
  }, event.target));

byId("compare").addEventListener("click", (event) =>
  run(event.target.form, async (form) => {
    const { checkpoint, text } = valuesOf(form);
    const answer = await ask("/training/inference/ab-test", { method: "POST", json: { checkpoint, text } });
    const scores = (similarity, mfcc) => `similarity ${similarity.toFixed(1)}, MFCC ${mfcc.toFixed(1)}`;
    play([
      [`Base model · ${scores(answer.base_similarity, answer.base_mfcc_score)}`, answer.base_audio],
      [`Fine-tuned · ${scores(answer.similarity, answer.mfcc_score)}`, answer.finetuned_audio],
    ]);
    return "Scores are out of 100, against recordings of the voice that training did not see.";
  }, event.target));

byId("folder").addEventListener("change", () => refresh());

// ── what is shown ───────────────────────────────────────────────────────────────────────────────────────────────────

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function play(tracks) {
  byId("audio").replaceChildren(
    ...tracks.map(([title, url]) => {
      const figure = element("figure");
      figure.append(element("figcaption", title), element("audio", "", { controls: "", src: url }));
      return figure;
    }),
  );
}

async function showDataset() {
  const [stats, all] = await Promise.all([
    ask(`/training/dataset/stats?folder=${encodeURIComponent(folder())}`),
    ask("/training/datasets"),
  ]);
  byId("stats").textContent =
    `${stats.sources} recordings · ${stats.files} segments · ${stats.total_hours.toFixed(2)} h · ` +
    `${stats.transcribed_percent.toFixed(0)} % transcribed · ${stats.flagged} to check`;
  byId("folders").replaceChildren(...all.datasets.map((one) => element("option", "", { value: one.folder })));
}

async function showTraining() {
  const status = await ask("/training/status");
  const loss = status.loss === null ? "" : ` · loss ${status.loss.toFixed(4)}`;
  byId("training").textContent = `${status.state} · epoch ${status.epoch} of ${status.total_epochs}${loss} · ${status.progress} %`;
  byId("progress").value = status.progress;
  byId("log").textContent = status.logs;
  const metrics = await ask("/training/metrics");
  drawLoss(metrics.model_name, metrics.series.loss);
}

function drawLoss(model, series) {
  const points = (series?.steps ?? []).map((step, index) => [step, series.values[index]]).filter(([, value]) => value !== null);
  if (points.length < 2) return;
  const [left, right, top, bottom] = [46, 630, 12, 192];
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (step) => left + ((step - first) / (last - first || 1)) * (right - left);
  const y = (value) => bottom - ((value - low) / (high - low || 1)) * (bottom - top);
  const draw = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  const parts = [0, 0.5, 1].flatMap((share) => {
    const value = low + share * (high - low);
    return [
      draw("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
      draw("text", { x: 4, y: y(value) + 4 }, value.toPrecision(3)),
    ];
  });
  parts.push(
    draw("text", { x: left, y: 212 }, `step ${first}`),
    draw("text", { x: right, y: 212, "text-anchor": "end" }, `${last}`),
    draw("polyline", { class: "line", points: points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }),
  );
  byId("loss").replaceChildren(...parts);
  byId("losscaption").textContent = `Loss of ${model}, now ${values.at(-1).toPrecision(4)}`;
}

async function showCheckpoints() {
  const found = await ask("/training/checkpoints");
  if (!found.length) return;
  byId("checkpoints").replaceChildren(
    ...found.map((one) => {
      const row = element("tr");
      row.append(...[one.model_name, one.epoch, one.date, one.size_mb.toFixed(2)].map((text) => element("td", text)));
      const cell = element("td");
      const button = element("button", "Load", { type: "button", class: "quiet", "aria-label": `Load ${one.name} of ${one.model_name}` });
      button.addEventListener("click", () => load(one, button));
      cell.append(button);
      row.append(cell);
      return row;
    }),
  );
  const chosen = byId("voice").value;
  const options = found.map((one) => element("option", `${one.model_name} · ${one.name}`, { value: one.path }));
  byId("voice").replaceChildren(element("option", "base model", { value: "base" }), ...options);
  byId("voice").value = [...byId("voice").options].some((option) => option.value === chosen) ? chosen : "base";
}

async function load(checkpoint, button) {
  const output = byId("loaded");
  button.disabled = true;
  try {
    await ask(`/training/checkpoints/load?checkpoint_path=${encodeURIComponent(checkpoint.path)}`, { method: "POST" });
    output.className = "";
    output.textContent = `${checkpoint.path} is loaded.`;
    byId("voice").value = checkpoint.path;
  } catch (error) {
    output.className = "bad";
    output.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

// ── jobs, live ──────────────────────────────────────────────────────────────────────────────────────────────────────

const jobs = new Map();

function showJobs() {
  const newest = [...jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1)).slice(0, 20);
  if (!newest.length) return;
  byId("jobs").replaceChildren(
    ...newest.map((job) => {
      const left = job.remaining_seconds === null ? "" : ` · ${Math.ceil(job.remaining_seconds)} s left`;
      const item = element("li", `${job.kind} · ${job.subject} · ${job.state}${job.state === "running" ? left : ""} ${job.message}`);
      if (job.error) item.append(element("div", job.error, { class: "bad" }));
      if (job.state === "running" || job.state === "queued") {
        item.append(element("progress", "", { max: 100, value: job.progress, "aria-label": `Progress of ${job.kind}` }));
        const button = element("button", "Stop", { type: "button", class: "quiet" });
        button.disabled = job.stop_requested;
        button.addEventListener("click", () => ask(`/training/jobs/${job.id}/cancel`, { method: "POST" }).catch((error) => alert(error.message)));
        item.append(button);
      }
      return item;
    }),
  );
}

let waiting = null;

function refreshSoon() {
  waiting ??= setTimeout(() => {
    waiting = null;
    refresh();
  }, 1000);
}

async function refresh() {
  const problems = (await Promise.allSettled([showDataset(), showTraining(), showCheckpoints()])).filter((one) => one.reason);
  byId("ready").textContent = problems.length ? problems[0].reason.message : "";
  byId("ready").className = problems.length ? "bad" : "";
}

const events = new EventSource("/training/events");
events.addEventListener("job", (event) => {
  const job = JSON.parse(event.data);
  jobs.set(job.id, job);
  showJobs();
  refreshSoon();
});
events.addEventListener("open", () => refreshSoon());
refresh();
