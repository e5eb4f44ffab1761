// The map of the images.

const MOST_GROUPS = 20;
const LARGEST_PICTURE = 48; // pixels
const GAP = 3; // pixels between two pictures
const MAP_CAPTIONS = {
  "t-SNE": "t-SNE keeps neighbours together; distances between far groups mean little. Good: what belongs together lies together.",
  PCA: "PCA shows the two directions of largest variance. It keeps large distances and separates many neighbours. Good: an even spread.",
};
const NEIGHBOUR_MAP = "Neighbours lie together; distances between far groups mean little. Good: what belongs together lies together.";

function startPlots() {
  drawMap();
  atPlots.push(drawMap);
  if (seen().classes) {
    drawConfusion();
    atPlots.push(drawConfusion);
  }
  drawSpectrum();
}

/** Groups of points for the colours: [{name, points}], by label or by cluster. */
function groups() {
  const { labels, classes, names } = content.points;
  const byLabel = labels !== null && at.colour === 0;
  const of = byLabel ? labels : seen().cluster;
  const found = new Map();
  const laidOut = Object.values(seen().maps)[at.kind][0].length;
  names.slice(0, laidOut).forEach((_, point) => {
    const key = point < of.length ? of[point] : -1;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(point);
  });
  const title = (key) => (key < 0 ? "without group" : byLabel ? classes[key] : `group ${key + 1}`);
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
    dragmode: "pan", hovermode: "closest", hoverdistance: LARGEST_PICTURE / 2, margin: { l: 0, r: 0, t: 0, b: 0 }, xaxis: axis, yaxis: axis, uirevision: `${at.run}${at.kind}`,
  }), { ...CONFIG, scrollZoom: true, doubleClick: "reset" });
  element.removeAllListeners("plotly_hover");
  element.removeAllListeners("plotly_unhover");
  element.removeAllListeners("plotly_click");
  element.removeAllListeners("plotly_relayouting");
  element.removeAllListeners("plotly_afterplot");
  element.on("plotly_relayouting", () => byId("map-pictures").replaceChildren());
  element.on("plotly_afterplot", drawPictures);
  drawPictures();
  byId("map-caption").textContent = MAP_CAPTIONS[names[at.kind]] ?? NEIGHBOUR_MAP;
  byId("map-shown").replaceChildren(chip("pictures", at.pictures, (on) => {
    at.pictures = on;
    drawPictures();
  }));
  element.on("plotly_hover", (event) => showTip(event.points[0].customdata, event.event));
  element.on("plotly_unhover", () => (byId("tip").hidden = true));
  element.on("plotly_click", (event) => choosePoint(event.points[0].customdata));
  choice(byId("map-kind"), names, at.kind, (number) => {
    at.kind = number;
    drawMap();
  });
  if (content.points.labels !== null) {
    choice(byId("map-colour"), ["by class", "by group"], at.colour, (number) => {
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

/** Draws as many pictures as fit without overlap, each at its point with the colour of its group. */
function drawPictures() {
  const plot = byId("map-plot");
  const { _size: size, xaxis, yaxis } = plot._fullLayout;
  const side = Math.min(naturalSide(), LARGEST_PICTURE);
  const step = side + GAP;
  const points = plot.data.flatMap((trace) => (trace.visible === false ? [] : trace.customdata.map((point, n) => [point, trace.x[n], trace.y[n], trace.marker.color])));
  const taken = new Map(); // positions by cell of the side `step`
  const pictures = [];
  for (const [point, x, y, border] of at.pictures ? points.sort((a, b) => a[0] - b[0]) : []) {
    const [left, top] = [size.l + xaxis.d2p(x), size.t + yaxis.d2p(y)];
    if (point >= content.points.num_thumbnails || !(left > side / 2 && left < size.l + size.w - side / 2 && top > side / 2 && top < size.t + size.h - side / 2)) continue;
    const [column, row] = [Math.floor(left / step), Math.floor(top / step)];
    const near = [-1, 0, 1].flatMap((a) => [-1, 0, 1].map((b) => taken.get(`${column + a},${row + b}`)));
    if (near.some((other) => other && Math.abs(other[0] - left) < step && Math.abs(other[1] - top) < step)) continue;
    taken.set(`${column},${row}`, [left, top]);
    const picture = thumb(point, side, "div");
    picture.style.left = `${left - side / 2}px`;
    picture.style.top = `${top - side / 2}px`;
    picture.style.outlineColor = border;
    pictures.push(picture);
  }
  byId("map-pictures").replaceChildren(...pictures);
}

function showTip(point, pointer) {
  const tip = byId("tip");
  tip.replaceChildren();
  if (point < content.points.num_thumbnails) tip.append(thumb(point, 2 * naturalSide(), "div"));
  tip.append(make("b", "", shortName(content.points.names[point])));
  const cluster = point < seen().cluster.length ? `group ${seen().cluster[point] + 1}` : "";
  tip.append(make("span", "", [className(point), cluster].filter(Boolean).join(" · ")));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const { clientX: x, clientY: y } = pointer.touches?.[0] ?? pointer;
  tip.style.left = `${x + 18 + width < innerWidth ? x + 18 : Math.max(4, x - 18 - width)}px`;
  tip.style.top = `${Math.max(4, Math.min(y - height / 2, innerHeight - height - 4))}px`;
}
