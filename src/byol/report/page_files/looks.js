// What the encoder made of the images: views, map, neighbours, clusters, classes, spectrum.

const MOST_GROUPS = 20;
const WITH_LOOKS = Object.keys(content.looks).map(Number);
const at = { run: WITH_LOOKS[0], kind: 0, colour: 0, offGroups: new Set() };
const seen = () => content.looks[at.run];

function startGrids() {
  const numbers = Object.keys(content.grids).map(Number);
  if (numbers.length === 0) return;
  drawGrid(numbers[0]);
  document.querySelectorAll(".looks-run").forEach((place) => {
    const shown = place.closest("#views") ? numbers : WITH_LOOKS;
    choice(place, shown.map((number) => content.runs[number].name), 0, (number) => {
      if (place.closest("#views")) drawGrid(shown[number]);
      else {
        at.run = shown[number];
        startLooks();
        drawMap();
        if (seen().classes) drawConfusion();
      }
    });
  });
}

function drawGrid(number) {
  const grid = content.grids[number];
  const host = byId("view-grid");
  const side = grid.pixelated ? grid.side * Math.max(1, Math.round(100 / grid.side)) : Math.max(100, grid.side);
  host.style.gridTemplateColumns = `repeat(${grid.columns}, minmax(36px, ${side}px))`;
  host.replaceChildren();
  for (let column = 0; column < grid.columns; column++) {
    host.append(make("div", "heading", column === 0 ? "image" : column % 2 ? "T" : "T′"));
  }
  const share = (position, count) => (count > 1 ? (100 * position) / (count - 1) : 0);
  grid.words.forEach((words, tile) => {
    const view = make("div", `view grid-${number}${grid.pixelated ? " pixelated" : ""}`);
    view.style.backgroundSize = `${grid.columns * 100}% ${grid.rows * 100}%`;
    view.style.backgroundPosition = `${share(tile % grid.columns, grid.columns)}% ${share(Math.floor(tile / grid.columns), grid.rows)}%`;
    view.title = words;
    const tell = () => (byId("view-words").textContent = words);
    view.addEventListener("pointerenter", tell);
    view.addEventListener("click", tell);
    host.append(view);
  });
}

function startLooks() {
  document.body.style.setProperty("--side", `${naturalSide()}px`);
  drawNeighbours(seen().queries);
  drawClusters();
  for (const name of ["typical", "odd"]) byId(name).replaceChildren(...seen()[name].map((point) => thumb(point)));
  drawPairs();
  if (content.points.labels !== null) {
    byId("mismatch-key").replaceChildren(make("i", "key"), "marks a different class from that of the first image.");
  }
  if (seen().classes) drawClassTable();
}

function startPlots() {
  drawMap();
  atPlots.push(drawMap);
  if (seen().classes) {
    drawConfusion();
    atPlots.push(drawConfusion);
  }
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

/** Groups of points for the colours: [{name, points}], by label or by cluster. */
function groups() {
  const { labels, classes, names } = content.points;
  const byLabel = labels !== null && at.colour === 0;
  const of = byLabel ? labels : seen().cluster;
  const found = new Map();
  names.forEach((_, point) => {
    const key = point < of.length ? of[point] : -1;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(point);
  });
  const title = (key) => (key < 0 ? "without cluster" : byLabel ? classes[key] : `cluster ${key + 1}`);
  const all = [...found.entries()].sort((a, b) => (a[0] < 0) - (b[0] < 0) || a[0] - b[0]).map(([key, points]) => ({ name: title(key), points }));
  if (all.length <= MOST_GROUPS) return all;
  const large = [...all].sort((a, b) => b.points.length - a.points.length).slice(0, MOST_GROUPS - 1);
  const rest = all.filter((group) => !large.includes(group));
  return [...large, { name: `${rest.length} others`, points: rest.flatMap((group) => group.points) }];
}

function hasWebGL() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl"));
  } catch {
    return false;
  }
}

function drawMap() {
  const element = byId("map-plot");
  const names = Object.keys(seen().maps);
  at.kind = Math.min(at.kind, names.length - 1);
  const [xs, ys] = seen().maps[names[at.kind]];
  const found = groups();
  const size = xs.length > 4000 ? 5 : 6.5;
  const data = found.map((group, number) => ({
    x: group.points.map((point) => xs[point]), y: group.points.map((point) => ys[point]), customdata: group.points,
    type: hasWebGL() ? "scattergl" : "scatter", mode: "markers", hoverinfo: "none", visible: !at.offGroups.has(number),
    marker: { color: colour(number), size, opacity: 0.8 },
  }));
  const axis = { visible: false, fixedrange: false };
  Plotly.react(element, data, layout({
    dragmode: "pan", hovermode: "closest", hoverdistance: 12, margin: { l: 0, r: 0, t: 0, b: 0 }, xaxis: axis, yaxis: names[at.kind] === "PCA" ? axis : { ...axis, scaleanchor: "x" }, uirevision: `${at.run}${at.kind}`,
  }), { ...CONFIG, scrollZoom: true, doubleClick: "reset" });
  element.removeAllListeners("plotly_hover");
  element.removeAllListeners("plotly_unhover");
  element.removeAllListeners("plotly_click");
  element.on("plotly_hover", (event) => showTip(event.points[0].customdata, event.event));
  element.on("plotly_unhover", () => (byId("tip").hidden = true));
  element.on("plotly_click", (event) => choosePoint(event.points[0].customdata));
  choice(byId("map-kind"), names, at.kind, (number) => {
    at.kind = number;
    drawMap();
  });
  if (content.points.labels !== null) {
    choice(byId("map-colour"), ["by class", "by cluster"], at.colour, (number) => {
      at.colour = number;
      at.offGroups.clear();
      drawMap();
    });
  }
  byId("map-legend").replaceChildren(...found.map((group, number) => chip(group.name, !at.offGroups.has(number), (on) => {
    on ? at.offGroups.delete(number) : at.offGroups.add(number);
    Plotly.restyle(element, { visible: on }, [number]);
  }, colour(number))));
}

function showTip(point, pointer) {
  const tip = byId("tip");
  tip.replaceChildren();
  if (point < content.points.num_thumbnails) tip.append(thumb(point, 2 * naturalSide(), "div"));
  tip.append(make("b", "", shortName(content.points.names[point])));
  const cluster = point < seen().cluster.length ? `cluster ${seen().cluster[point] + 1}` : "";
  tip.append(make("span", "", [className(point), cluster].filter(Boolean).join(" · ")));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const { clientX: x, clientY: y } = pointer.touches?.[0] ?? pointer;
  tip.style.left = `${x + 18 + width < innerWidth ? x + 18 : Math.max(4, x - 18 - width)}px`;
  tip.style.top = `${Math.max(4, Math.min(y - height / 2, innerHeight - height - 4))}px`;
}

function captioned(point, text, other = false) {
  const figure = make("figure", other ? "other" : "");
  const picture = thumb(point);
  const caption = make("figcaption", "", text);
  caption.style.width = picture.style.width;
  figure.append(picture, caption);
  return figure;
}

function neighbourRow(point) {
  const row = make("div", "row");
  const query = captioned(point, className(point) || shortName(content.points.names[point]));
  query.classList.add("query");
  const near = make("div", "thumbs");
  seen().neighbours[point].forEach((other, k) => {
    near.append(captioned(other, seen().similarities[point][k].toFixed(3), className(other) !== className(point)));
  });
  row.append(query, near);
  return row;
}

const drawNeighbours = (points) => byId("neighbour-rows").replaceChildren(...points.map(neighbourRow));

function choosePoint(point) {
  const place = byId("chosen");
  place.hidden = false;
  const title = make("h3", "", [content.points.names[point], className(point)].filter(Boolean).join(" · "));
  place.replaceChildren(title);
  if (point < seen().neighbours.length) place.append(neighbourRow(point));
  else place.append(make("p", "caption", "Neighbours are shown for the images with thumbnails."));
}

document.addEventListener("choose", (event) => {
  choosePoint(event.detail);
  byId("chosen").scrollIntoView({ block: "center" });
});

function drawClusters() {
  byId("cluster-cards").replaceChildren(...seen().clusters.map(({ size, members }, number) => {
    const card = make("div", "card");
    card.append(make("h3", "", `Cluster ${number + 1}`), make("p", "caption", `${size} images${mostly(number)}`));
    const pictures = make("div", "thumbs cut");
    pictures.append(...members.map((point) => thumb(point)));
    card.append(pictures);
    return card;
  }));
}

function mostly(cluster) {
  if (content.points.labels === null) return "";
  const counts = new Map();
  let total = 0;
  seen().cluster.forEach((number, point) => {
    if (number !== cluster) return;
    total += 1;
    counts.set(className(point), (counts.get(className(point)) ?? 0) + 1);
  });
  const [name, count] = [...counts.entries()].sort((a, b) => b[1] - a[1])[0];
  return `, ${Math.round((100 * count) / total)} % ${name}`;
}

function drawPairs() {
  byId("pairs").replaceChildren(...seen().pairs.map(([a, b, similarity, same]) => {
    const figure = make("figure", same ? "pair same" : "pair");
    const pictures = make("div", "thumbs");
    pictures.append(thumb(a), thumb(b));
    figure.append(pictures, make("figcaption", "", similarity.toFixed(4)));
    return figure;
  }));
}

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

byId("other-queries")?.addEventListener("click", () => {
  const count = seen().neighbours.length;
  drawNeighbours(Array.from({ length: Math.min(6, count) }, () => Math.floor(Math.random() * count)));
});
