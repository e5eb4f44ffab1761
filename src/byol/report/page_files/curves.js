// Curves of all runs, each run with a button that hides it everywhere.

const CHARTS = [
  { title: "Loss", keys: ["loss"], about: "Symmetrized loss, from 0 to 8. A collapse also makes it low, so read it with the next charts." },
  { title: "Spread of the projections", keys: ["std_ratio"], about: "Standard deviation of unit projections: 0 collapsed, 1 isotropic." },
  { title: "Effective rank", keys: ["effective_rank"], about: "Number of directions that the projections use." },
  { title: "Cosines", keys: ["positive_cosine", "negative_cosine"], about: "Cosine between online and target vectors: of the same image (line) and of different images (dots). The two should separate." },
  { title: "Online probes", keys: ["online_knn", "online_linear"], about: "Accuracy in % on labelled training images: kNN (line) and linear (dots)." },
  { title: "Learning rate", keys: ["learning_rate"], about: "Learning rate of the whole batch." },
  { title: "Tau", keys: ["tau"], about: "Fraction of its weights that the target keeps at each step." },
  { title: "Throughput", keys: ["images_per_second"], about: "Images per second." },
];
const WATCHED = new Set(["std_ratio", "effective_rank", "positive_cosine", "negative_cosine"]); // measured rarely, logged on each line
const NOT_DRAWN = ["step", "elapsed_seconds"];
const runPlots = []; // {element, owner: run of each trace}
const hidden = new Set();

function charts() {
  const known = new Set([...CHARTS.flatMap((chart) => chart.keys), ...NOT_DRAWN]);
  const found = new Set(content.runs.flatMap((run) => Object.keys(run.metrics)));
  const extra = [...found].filter((key) => !known.has(key));
  return [
    ...CHARTS.filter((chart) => chart.keys.some((key) => found.has(key))),
    ...extra.map((key) => ({ title: key.replaceAll("_", " "), keys: [key], about: "" })),
  ];
}

/** Mean over a window around each value, so that a noisy curve shows where it goes. */
function smooth(values) {
  const half = Math.floor(values.length / 50);
  return values.map((value, at) => {
    const near = values.slice(Math.max(0, at - half), at + half + 1).filter((v) => v !== null);
    return value === null || near.length === 0 ? null : near.reduce((a, b) => a + b) / near.length;
  });
}

/** Each value where it is new, and the last one. */
const changes = (values) => values?.map((value, at) => (at === 0 || at === values.length - 1 || value !== values[at - 1] ? value : null));

function traces(chart) {
  const drawn = [];
  content.runs.forEach((run, number) => {
    chart.keys.forEach((key, which) => {
      const values = WATCHED.has(key) ? changes(run.metrics[key]) : run.metrics[key];
      if (!values) return;
      const name = content.runs.length > 1 ? plain(run.name) : chart.keys.length > 1 ? key.replaceAll("_", " ") : "";
      const trace = {
        x: run.metrics.step, y: values, name, type: "scatter", mode: values.length === 1 ? "markers" : "lines", meta: number,
        line: { color: colour(number), width: 1.8, dash: which ? "dot" : "solid" }, marker: { color: colour(number) },
        connectgaps: WATCHED.has(key) || key.startsWith("online_"),
        hovertemplate: name ? "%{y:.5~g} %{fullData.name}<extra></extra>" : "%{y:.5~g}<extra></extra>",
        visible: !hidden.has(number),
      };
      if (key === "loss" && values.length > 60) {
        drawn.push({ ...trace, opacity: 0.3, line: { ...trace.line, width: 1 }, hoverinfo: "skip", hovertemplate: undefined });
        trace.y = smooth(values);
      }
      drawn.push(trace);
    });
  });
  return drawn;
}

function startCurves() {
  const rows = content.runs.map((run) => (run.metrics.step ?? []).length);
  if (Math.max(...rows) === 0) {
    byId("charts").append(make("p", "note", "Nothing has been logged yet."));
    return;
  }
  for (const chart of charts()) {
    const card = make("div", "card chart");
    const element = make("div", "plot");
    card.append(make("h3", "", chart.title), make("p", "", chart.about), element);
    byId("charts").append(card);
    drawLines(element, () => traces(chart), { hovermode: "x unified", xaxis: { title: { text: "step", font: { size: 11 }, standoff: 6 }, nticks: 5 }, yaxis: { nticks: 6 } });
  }
  if (content.runs.length < 2) return;
  content.runs.forEach((run, number) => {
    byId("run-chips").append(chip(run.name, true, (on) => {
      on ? hidden.delete(number) : hidden.add(number);
      runPlots.forEach(({ element, owners }) => Plotly.restyle(element, { visible: owners.map((owner) => !hidden.has(owner)) }));
    }, colour(number)));
  });
}

/** A plot whose traces belong to runs (their `meta`), so that the runs' buttons reach it. */
function drawLines(element, makeTraces, more) {
  const draw = () => Plotly.react(element, makeTraces(), layout(more), CONFIG);
  draw();
  runPlots.push({ element, owners: element.data.map((trace) => trace.meta) });
  atPlots.push(draw);
}
