// Curves of all runs, each run with a button that hides it everywhere.

const runPlots = []; // {element, owner: run of each trace}
const hidden = new Set();

/** Mean over a window around each value, so that a noisy curve shows where it goes. */
function smooth(values) {
  const half = Math.floor(values.length / 50);
  return values.map((value, at) => {
    const near = values.slice(Math.max(0, at - half), at + half + 1).filter((v) => v !== null);
    return value === null || near.length === 0 ? null : near.reduce((a, b) => a + b) / near.length;
  });
}

function traces(chart) {
  const drawn = [];
  content.runs.forEach((run, number) => {
    chart.keys.forEach((key, which) => {
      const values = run.metrics[key];
      if (!values) return;
      const name = content.runs.length > 1 ? plain(run.name) : chart.keys.length > 1 ? key.replaceAll("_", " ") : "";
      const trace = {
        x: run.metrics.step, y: values, name, type: "scatter", mode: chart.checked ? "lines+markers" : values.length === 1 ? "markers" : "lines", meta: number,
        line: { color: colour(number), width: 1.8, dash: which ? "dot" : "solid" }, marker: { color: colour(number), size: chart.checked ? 4 : 6 },
        connectgaps: chart.checked || key.startsWith("online_"),
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
  for (const chart of content.charts) {
    const card = make("div", "card chart");
    const element = make("div", "plot");
    card.append(make("h3", "", chart.title), make("p", "", chart.caption), element);
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
