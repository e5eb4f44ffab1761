"use strict";
// The page of byol explore. Names reach the page as text alone, never as HTML.

const COLOURS = ["#4269d0", "#efa31d", "#ff725c", "#3ca951", "#a463f2", "#38b2b8", "#e85fa0", "#9c6b4e", "#7f8792", "#86a832",
  "#97bbf5", "#f7d27a", "#ffb3a7", "#9fd9a9", "#d1b2f8", "#a6e0e3", "#f5afd0", "#cfb19f", "#c3c8cf", "#c7da8f"];
const PAGE = 120;
const byId = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
const dark = matchMedia("(prefers-color-scheme: dark)");
let library = null;
let kind = "";
let shown = { images: [], similarities: null, count: 0 };

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

function say(text, wrong = false) {
  const place = byId("message");
  place.textContent = text;
  place.classList.toggle("wrong", wrong);
  place.hidden = text === "";
}

async function ask(path, body) {
  const headers = { "X-Token": token };
  const options = body === undefined ? { headers } : { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body), headers };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    say("byol explore does not answer any more: start it again and load this page.", true);
    throw new Error("no answer");
  }
  const content = await response.json();
  if (!response.ok) {
    say(content.error, true);
    throw new Error(content.error);
  }
  say("");
  return content;
}

/** What a button or form does; a refusal was told already. */
const on = (id, event, act) => byId(id).addEventListener(event, (happened) => {
  if (event === "submit") happened.preventDefault();
  Promise.resolve(act(happened)).catch((error) => console.warn(error.message));
});

/** Text for plotly, which reads a little HTML. */
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const shortName = (image) => library.names[image].split("/").pop();

function thumb(image, caption = "") {
  const button = make("button", "thumb");
  button.type = "button";
  button.title = library.names[image];
  button.dataset.image = image;
  const picture = make("img");
  picture.loading = "lazy";
  picture.alt = library.names[image];
  picture.src = `/thumbnail?image=${image}&side=128&of=${token}`;
  button.dataset.caption = caption;
  button.append(picture, make("span"));
  drawCaption(button);
  button.addEventListener("click", () => (labelsByClick() ? toggleLabel(image) : enlarge(image)));
  return button;
}

function enlarge(image) {
  const dialog = byId("large");
  dialog.querySelector("img").src = `/picture?image=${image}&of=${token}`;
  dialog.querySelector("p").textContent = [library.names[image], labelWords(image)].filter(Boolean).join(": ");
  byId("more-like-this").onclick = () => {
    dialog.close();
    showNeighbours(image).catch((error) => console.warn(error.message));
  };
  dialog.showModal();
}

function show(title, images, { similarities = null, query = null, name = "" } = {}) {
  tab("results");
  shown = { images, similarities, count: 0 };
  byId("title").textContent = title;
  byId("export").hidden = images.length === 0;
  byId("list-name").value = name;
  byId("query").replaceChildren(...(query ? [query] : []));
  byId("thumbs").replaceChildren();
  more();
}

function more() {
  const next = shown.images.slice(shown.count, shown.count + PAGE);
  next.forEach((image, place) => {
    const similarity = shown.similarities ? shown.similarities[shown.count + place].toFixed(3) : "";
    byId("thumbs").append(thumb(image, similarity));
  });
  shown.count += next.length;
  byId("more").hidden = shown.count >= shown.images.length;
}

async function showNeighbours(image) {
  const found = await ask(`/neighbours?image=${image}&count=24`);
  show(`Most similar to ${shortName(image)}`, found.map(([other]) => other), { similarities: found.map(([, s]) => s), query: thumb(image) });
}

async function searchWith(file) {
  if (!file) return;
  const found = await ask("/search", file);
  const picture = make("img");
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name;
  const query = make("div", "thumb");
  query.append(picture, make("span", "", file.name));
  show(`Most similar to ${file.name}`, found.map(([other]) => other), { similarities: found.map(([, s]) => s), query });
}

function tab(name) {
  for (const other of ["results", "clusters", "duplicates"]) {
    byId(other).hidden = other !== name;
    byId(`tab-${other}`).setAttribute("aria-pressed", other === name);
  }
}

const clusterTitle = ({ number, name }) => name || `cluster ${number + 1}`;
const members = (number) => library.cluster.flatMap((of, image) => (of === number ? [image] : []));

function drawClusters() {
  byId("cluster-list").replaceChildren(...library.clusters.map((cluster) => {
    const card = make("div", "cluster");
    const form = make("form");
    const name = make("input");
    name.placeholder = "name it";
    name.value = cluster.name;
    name.setAttribute("aria-label", `Name of cluster ${cluster.number + 1}`);
    const title = make("b", "", `${clusterTitle(cluster)}, ${cluster.size}`);
    const open = make("button", "", "Show all");
    open.type = "button";
    open.addEventListener("click", () => show(clusterTitle(cluster), members(cluster.number), { name: cluster.name }));
    const save = make("button", "", "Export");
    save.type = "submit";
    form.append(title, name, open, save);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        const written = await ask("/export", { name: name.value || `cluster ${cluster.number + 1}`, cluster: cluster.number });
        await rename(cluster, name.value, title);
        say(`${written.count} names written to ${written.path}`);
      } catch (error) {
        console.warn(error.message);
      }
    });
    name.addEventListener("change", () => rename(cluster, name.value, title).catch((error) => console.warn(error.message)));
    const thumbs = make("div", "thumbs");
    thumbs.append(...cluster.shown.map((image) => thumb(image)));
    card.append(form, thumbs);
    return card;
  }));
}

async function rename(cluster, name, title) {
  if (cluster.name === name) return;
  cluster.name = name;
  title.textContent = `${clusterTitle(cluster)}, ${cluster.size}`;
  drawMap();
  await ask("/name", { cluster: cluster.number, name });
}

async function findDuplicates() {
  byId("pair-count").textContent = "Comparing…";
  const pairs = await ask(`/duplicates?least=${Number(byId("least").value)}`);
  byId("pair-count").textContent = pairs.length === 0 ? "No pair is that similar." : `${pairs.length} pair${pairs.length === 1 ? "" : "s"}${pairs.length === 200 ? " (the most similar 200)" : ""}.`;
  byId("pairs").replaceChildren(...pairs.map(([one, other, similarity, same]) => {
    const pair = make("div", "pair");
    const words = make("p", "", `${similarity.toFixed(3)}${same ? ", the same pixels" : ""}`);
    words.append(make("br"), library.names[one], make("br"), library.names[other]);
    pair.append(thumb(one), thumb(other), words);
    return pair;
  }));
}

function drawMap() {
  const [xs, ys] = library.maps[kind];
  const style = getComputedStyle(document.body);
  const webgl = Boolean(document.createElement("canvas").getContext("webgl"));
  const traces = groups().map(({ title, images, colour }) => ({
    x: images.map((image) => xs[image]), y: images.map((image) => ys[image]), customdata: images, name: plain(title),
    type: webgl ? "scattergl" : "scatter", mode: "markers", hoverinfo: "none",
    marker: { size: xs.length > 4000 ? 4.5 : 6.5, opacity: 0.85, color: colour },
  }));
  const axis = { visible: false };
  const layout = {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", margin: { l: 0, r: 0, t: 0, b: 0 }, xaxis: axis, yaxis: axis, hovermode: "closest",
    dragmode: byId("drag-lasso").getAttribute("aria-pressed") === "true" ? "lasso" : "pan", uirevision: kind,
    showlegend: traces.length <= 21, legend: { orientation: "h", y: -0.02, font: { color: style.color, family: style.fontFamily, size: 11 } },
  };
  Plotly.react("map", traces, layout, { displaylogo: false, responsive: true, displayModeBar: false, scrollZoom: true, doubleClick: "reset" });
}

function followMap() {
  const map = byId("map");
  const tip = byId("tip");
  const imageAt = (event) => event.points[0].customdata;
  map.on("plotly_click", (event) => showNeighbours(imageAt(event)).catch((error) => console.warn(error.message)));
  map.on("plotly_hover", (event) => {
    const picture = make("img");
    picture.src = `/thumbnail?image=${imageAt(event)}&side=128&of=${token}`;
    tip.replaceChildren(picture, library.names[imageAt(event)], make("br"), labelWords(imageAt(event)));
    tip.style.left = `${Math.min(event.event.clientX + 14, innerWidth - 200)}px`;
    tip.style.top = `${Math.min(event.event.clientY + 14, innerHeight - 190)}px`;
    tip.hidden = false;
  });
  map.on("plotly_unhover", () => (tip.hidden = true));
  map.on("plotly_selected", (event) => {
    if (!event) return;
    const images = event.points.map((point) => point.customdata).sort((a, b) => a - b);
    if (images.length) show(`${images.length} images in the region`, images);
  });
}

function drawKinds() {
  const names = Object.keys(library.maps);
  if (names.length < 2) return;
  byId("kinds").replaceChildren(...names.map((name) => {
    const button = make("button", "chip", name);
    button.type = "button";
    button.setAttribute("aria-pressed", name === kind);
    button.addEventListener("click", () => {
      kind = name;
      drawKinds();
      drawMap();
    });
    return button;
  }));
}

function startDropping() {
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    searchWith(event.dataTransfer.files[0]).catch((error) => console.warn(error.message));
  });
}

addEventListener("DOMContentLoaded", async () => {
  library = await ask("/library.json");
  kind = Object.keys(library.maps)[0];
  byId("about").textContent = `${library.names.length.toLocaleString("en")} images of ${library.images}`;
  byId("cluster-count").value = library.clusters.length;
  drawKinds();
  drawMap();
  followMap();
  drawClusters();
  startDropping();
  await startLabels();
  for (const name of ["results", "clusters", "duplicates"]) on(`tab-${name}`, "click", () => tab(name));
  for (const mode of ["pan", "lasso"]) {
    on(`drag-${mode}`, "click", () => {
      for (const other of ["pan", "lasso"]) byId(`drag-${other}`).setAttribute("aria-pressed", other === mode);
      Plotly.relayout("map", { dragmode: mode });
    });
  }
  on("more", "click", more);
  on("file", "change", () => searchWith(byId("file").files[0]));
  on("find-duplicates", "submit", findDuplicates);
  on("regroup", "submit", async () => {
    Object.assign(library, await ask("/clusters", { count: Number(byId("cluster-count").value) }));
    drawClusters();
    drawMap();
  });
  on("export", "submit", async () => {
    const written = await ask("/export", { name: byId("list-name").value, images: shown.images });
    say(`${written.count} names written to ${written.path}`);
  });
  dark.addEventListener("change", drawMap);
  new ResizeObserver(() => Plotly.Plots.resize("map")).observe(byId("map")); // a message makes it lower
  document.body.dataset.ready = "yes";
});
