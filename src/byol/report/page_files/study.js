// A study: one chart per measure, a line per variant: each seed, the mean with its interval, and the paper's number.

const STUDY_LEGEND = "Gray: each seed; blue: their mean with its 95 % interval; dotted: the untrained encoder.";

function startStudies() {
  content.studies.forEach((study, number) => {
    const { measures, paper, paper_metric: metric } = study;
    const charts = Object.entries(measures).map(([key, title]) => ({ key, title }));
    if (Object.values(paper).some((value) => value !== null)) charts.push({ key: null, title: `paper: ${metric}` });
    for (const { key, title } of charts) {
      const card = make("div", "card chart");
      const element = make("div", "plot");
      element.style.height = `${46 + 26 * variants(study).length}px`;
      card.append(make("h3", "", title), make("p", "", `${content.study_captions[key ?? "paper"] ?? ""} ${key === null ? "" : STUDY_LEGEND}`), element);
      byId(`study-charts-${number}`).append(card);
      const draw = () => Plotly.react(element, key === null ? paperTraces(study) : measureTraces(study, key), layout({
        hovermode: "closest", xaxis: { nticks: 5, zeroline: false }, shapes: untrainedLine(study, key),
        yaxis: { type: "category", categoryarray: variants(study).map(plain), categoryorder: "array", autorange: "reversed", showgrid: true, range: [variants(study).length - 0.5, -0.5], fixedrange: true },
      }), CONFIG);
      draw();
      atPlots.push(draw);
    }
  });
}

const variants = (study) => Object.keys(study.scores).filter((name) => name !== study.untrained);

function measureTraces(study, key) {
  const names = variants(study).filter((name) => study.scores[name][key]);
  const seeds = names.flatMap((name) => study.outcomes[name].map((outcome, seed) => [outcome[key], name, seed]).filter(([value]) => Number.isFinite(value)));
  const half = names.map((name) => {
    const { value, high } = study.scores[name][key];
    return high === null ? 0 : high - value;
  });
  return [
    { x: seeds.map(([value]) => value), y: seeds.map(([, name]) => plain(name)), customdata: seeds.map(([, , seed]) => seed), type: "scatter", mode: "markers",
      marker: { color: css("--soft"), size: 5, opacity: 0.6 }, hovertemplate: "%{y}, seed %{customdata}: %{x:.4~g}<extra></extra>" },
    { x: names.map((name) => study.scores[name][key].value), y: names.map(plain), customdata: half, type: "scatter", mode: "markers",
      marker: { color: css("--accent"), size: 9 }, error_x: { type: "data", array: half, color: css("--accent"), thickness: 1.5, width: 4 },
      hovertemplate: "%{y}, mean: %{x:.4~g} ± %{customdata:.3~g}<extra></extra>" },
  ];
}

function paperTraces({ paper, ...study }) {
  const names = variants(study).filter((name) => Number.isFinite(paper[name]));
  return [{ x: names.map((name) => paper[name]), y: names.map(plain), type: "scatter", mode: "markers",
    marker: { color: COLOURS[1], size: 9, symbol: "diamond" }, hovertemplate: "%{y}, paper: %{x:.4~g}<extra></extra>" }];
}

/** Where the encoder stands before training, by its accuracies. */
function untrainedLine({ scores, untrained }, key) {
  const value = scores[untrained]?.[key]?.value;
  return Number.isFinite(value) ? [{ type: "line", xref: "x", yref: "paper", x0: value, x1: value, y0: 0, y1: 1, line: { color: css("--soft"), dash: "dot", width: 1.2 } }] : [];
}
