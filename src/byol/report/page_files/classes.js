// Classes and the spectrum, for researchers.

function drawConfusion() {
  const { classes, confusion } = seen().classes;
  const names = classes.map((number) => plain(content.points.classes[number]));
  const shares = confusion.map((row) => {
    const total = row.reduce((a, b) => a + b, 0);
    return row.map((count) => count / total);
  });
  const axis = { type: "category", fixedrange: true, showgrid: false, automargin: true, tickmode: "linear" };
  const few = classes.length <= 12;
  Plotly.react(byId("confusion"), [{
    type: "heatmap", x: names, y: names, z: shares, customdata: confusion, zmin: 0, zmax: 1, showscale: false, xgap: 1, ygap: 1,
    colorscale: [[0, css("--grid")], [0.15, dark.matches ? "#2f4a86" : "#bccdf3"], [1, css("--accent")]],
    hovertemplate: "%{y}, taken for %{x}: %{customdata} (%{z:.1%})<extra></extra>",
    ...(few ? { text: confusion.map((row) => row.map((count) => count || "")), texttemplate: "%{text}", textfont: { size: 11 } } : {}),
  }], layout({
    height: Math.min(760, 90 + 34 * Math.max(8, classes.length)), margin: { l: 10, r: 10, t: 10, b: 10 },
    xaxis: { ...axis, title: { text: "taken for", standoff: 8 }, tickangle: -45 }, yaxis: { ...axis, autorange: "reversed", title: { text: "is", standoff: 8 } },
  }), CONFIG);
}

function drawClassTable() {
  const { classes, recall, precision, support, score } = seen().classes;
  byId("class-lead").textContent = `Each image is classified by its 20 nearest neighbours among the others: ${score} % correct (95 % interval). `
    + "The encoder was trained on these images, without their labels. byol evaluate measures the accuracy on test images.";
  const head = make("tr");
  ["class", "images", "recall, %", "95 % interval", "precision, %"].forEach((title, n) => head.append(make("th", n ? "number" : "", title)));
  const rows = classes.map((number, row) => {
    const line = make("tr");
    const [value, low, high] = recall[row];
    line.append(make("td", "", content.points.classes[number]));
    for (const text of [support[row], value.toFixed(1), `${low.toFixed(1)} to ${high.toFixed(1)}`, precision[row].toFixed(1)]) line.append(make("td", "number", String(text)));
    return line;
  });
  const top = make("thead");
  const body = make("tbody");
  top.append(head);
  body.append(...rows);
  byId("class-table").replaceChildren(top, body);
}

function drawSpectrum() {
  drawLines(byId("spectrum-plot"), () => WITH_LOOKS.map((number) => {
    const { spectrum, rank, num_features } = content.looks[number];
    const name = plain(content.runs[number].name);
    return {
      x: spectrum.map((_, axis) => axis + 1), y: spectrum.map((share) => (share > 0 ? share : null)), type: "scatter", mode: "lines", meta: number,
      line: { color: colour(number), width: 1.8 }, visible: !hidden.has(number),
      hovertemplate: `axis %{x}: %{y:.3%}<br>${name}: effective rank ${rank} of ${num_features}<extra></extra>`,
    };
  }), { hovermode: "closest", xaxis: { title: { text: "principal axis", standoff: 6 } }, yaxis: { type: "log", tickformat: "~%", title: { text: "fraction of variance", standoff: 4 } } });
}
