"use strict";
// The page of byol explore. Names reach the page as text alone, never as HTML.

const COLOURS = ["#4269d0", "#efa31d", "#ff725c", "#3ca951", "#a463f2", "#38b2b8", "#e85fa0", "#9c6b4e", "#7f8792", "#86a832",
  "#97bbf5", "#f7d27a", "#ffb3a7", "#9fd9a9", "#d1b2f8", "#a6e0e3", "#f5afd0", "#cfb19f", "#c3c8cf", "#c7da8f"];
const PAGE = 120; // images
const GROUPS = 40; // of duplicates that are shown at a time
const SHOWN_OF_GROUP = 12;
const [SMALLEST, LARGEST] = [84, 128]; // side of a thumbnail, in pixels
const TABS = ["results", "clusters", "duplicates"];
const byId = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
const dark = matchMedia("(prefers-color-scheme: dark)");
let library = null;
let kind = "";
let duplicates = null;
const NOTHING = { title: "Nothing chosen yet", images: [], similarities: null, query: null, name: "", note: "", asked: false, before: null, count: 0 };
let shown = NOTHING; // the list of the tab Images; `before` has the list and the tab that were open before it

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

const ARRAYS = { int32: Int32Array, float32: Float32Array, uint8: Uint8Array };

/** A message of explore/packed.py: JSON, then the arrays that it lists. */
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { arrays, ...content } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const [name, type, count] of arrays) {
    content[name] = new ARRAYS[type](buffer, at, count);
    at += 4 * Math.ceil(content[name].byteLength / 4);
  }
  return content;
}

async function ask(path, body) {
  const headers = { "X-Token": token };
  const options = body === undefined ? { headers } : { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body), headers };
  let response;
  say(""); // what the answer to an earlier request says stays until the next one
  try {
    response = await fetch(path, options);
  } catch {
    say("byol explore does not answer any more: start it again and load this page.", true);
    throw new Error("no answer");
  }
  const content = response.headers.get("Content-Type") === "application/octet-stream" ? unpack(await response.arrayBuffer()) : await response.json();
  if (!response.ok) {
    say(content.error, true);
    throw new Error(content.error);
  }
  return content;
}

/** What a button or form does; a refusal was told already. */
const on = (id, event, act) => byId(id).addEventListener(event, (happened) => {
  if (event === "submit") happened.preventDefault();
  Promise.resolve(act(happened)).catch((error) => console.warn(error.message));
});

const counted = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
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
  button.append(picture, make("span", "name", shortName(image)), make("span", "caption"));
  drawCaption(button);
  button.addEventListener("click", (event) => clickImage(image, event.shiftKey).catch((error) => console.warn(error.message)));
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
  dialog.dataset.image = image;
  dialog.showModal();
}

/** Lists images; `options` are other entries of `NOTHING`. */
function show(title, images, options = {}) {
  const before = { tab: TABS.find((name) => !byId(name).hidden), list: shown };
  drawList({ ...NOTHING, title, images, ...options, before });
}

/** Shows a list; its images are those of `figures`, elements that were made already, if it has these. */
function drawList(list) {
  tab("results");
  shown = { ...list, count: list.figures ? list.images.length : 0 };
  byId("title").textContent = list.title;
  byId("back").hidden = !list.before || (list.before.list === NOTHING && list.before.tab === "results");
  byId("export").hidden = list.images.length === 0;
  byId("list-name").value = list.name;
  byId("note").textContent = list.note;
  byId("query").replaceChildren(...(list.query ? [list.query] : []));
  byId("thumbs").replaceChildren(...(list.figures ?? []));
  drawProgress();
  more();
  document.querySelectorAll("#results .thumb[data-image]").forEach(drawCaption);
}

function back() {
  const { list, tab: opened } = shown.before;
  drawList(list);
  tab(opened);
}

/** Makes the thumbnails as large as lets all of them be seen, up to their own size. */
function sizeThumbs() {
  const thumbs = byId("thumbs"), right = byId("right"), gap = 8, words = 46;
  const room = right.getBoundingClientRect().bottom - thumbs.getBoundingClientRect().top - right.scrollTop - 14;
  const side = (columns) => (thumbs.clientWidth - gap * (columns - 1)) / columns;
  let columns = 1;
  while (side(columns) > LARGEST) columns++;
  while (side(columns) >= SMALLEST && Math.ceil(shown.count / columns) * (side(columns) + words + gap) > room) columns++;
  thumbs.style.gridTemplateColumns = innerWidth > 820 && side(columns) >= SMALLEST ? `repeat(${columns}, minmax(0, 1fr))` : "";
}

function more() {
  const next = shown.images.slice(shown.count, shown.count + PAGE);
  next.forEach((image, place) => {
    const similarity = shown.similarities ? shown.similarities[shown.count + place].toFixed(3) : "";
    byId("thumbs").append(thumb(image, similarity));
  });
  shown.count += next.length;
  byId("more").hidden = shown.count >= shown.images.length;
  sizeThumbs();
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
  for (const other of TABS) {
    byId(other).hidden = other !== name;
    byId(`tab-${other}`).setAttribute("aria-pressed", other === name);
  }
}

const clusterTitle = ({ number, name }) => name || `cluster ${number + 1}`;

function members(number) {
  const found = [];
  library.cluster.forEach((of, image) => of === number && found.push(image));
  return found;
}

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
  let found = await ask("/duplicates");
  while (!found.sizes) {
    const part = found.total ? ` ${found.done.toLocaleString("en")} of ${found.total.toLocaleString("en")}` : "…";
    byId("group-count").textContent = `${found.doing}${part}`;
    await new Promise((goOn) => setTimeout(goOn, 500));
    found = await ask("/duplicates");
  }
  let start = 0;
  found.groups = [...found.sizes].map((size) => [start, (start += size)]);
  found.count = 0;
  duplicates = found;
  const repeated = found.images.length - found.sizes.length;
  byId("group-count").textContent = repeated ? `${counted(found.sizes.length, "group")}: ${counted(repeated, "image")} repeat${repeated === 1 ? "s" : ""} another one.` : "There are none.";
  byId("repeated").hidden = repeated === 0;
  byId("groups").replaceChildren();
  moreGroups();
}

function moreGroups() {
  const { groups } = duplicates;
  const next = groups.slice(duplicates.count, duplicates.count + GROUPS);
  byId("groups").append(...next.map(drawGroup));
  duplicates.count += next.length;
  byId("more-groups").hidden = duplicates.count >= groups.length;
  byId("more-groups").textContent = `Show more of ${counted(groups.length, "group")}`;
}

function drawGroup([start, end]) {
  const { images, cosine, equal } = duplicates;
  const card = make("div", "group");
  const head = make("form");
  const title = counted(end - start, "image");
  const thumbs = make("div", "thumbs");
  for (let at = start; at < Math.min(end, start + SHOWN_OF_GROUP); at++) {
    const picture = thumb(images[at], equal[at] ? "same pixels" : `cosine ${cosine[at].toFixed(3)}`);
    picture.querySelector(".name").textContent = library.names[images[at]];
    thumbs.append(picture);
  }
  const open = make("button", "", "Show all");
  open.type = "button";
  open.addEventListener("click", () => show(`${title} alike`, [...images.subarray(start, end)]));
  head.append(make("b", "", title), open);
  card.append(head, thumbs);
  return card;
}

/** All images of the groups but the first of each. */
function showRepeated() {
  const { images, groups } = duplicates;
  const repeated = groups.flatMap(([start, end]) => [...images.subarray(start + 1, end)]).sort((a, b) => a - b);
  show(`${counted(repeated.length, "image")} without the first of each group`, repeated, { name: "duplicates" });
}

const drawMap = () => colourPoints(groups());

function drawKind() {
  placePoints(library[`map ${kind}`]);
  const laidOut = kind === "PCA" ? library.drawn : library.laid_out;
  const others = library.names.length - laidOut;
  byId("placed").hidden = others === 0;
  byId("placed").textContent = `${kind} laid out ${laidOut.toLocaleString("en")} images; ${others === 1 ? "the other one is" : `the other ${others.toLocaleString("en")} are each`} placed beside the most similar one of these.`;
}

let tipOf = -1;

/** Shows the image under the pointer, after a moment in which the pointer may go on. */
function showTip(image, event) {
  const tip = byId("tip");
  if (image === tipOf) return;
  tipOf = image;
  tip.hidden = true;
  byId("map").style.cursor = image < 0 ? "" : "pointer";
  if (image < 0) return;
  setTimeout(() => {
    if (image !== tipOf) return;
    const picture = make("img");
    picture.src = `/thumbnail?image=${image}&side=128&of=${token}`;
    tip.replaceChildren(picture, library.names[image], make("br"), labelWords(image));
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 200)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - 190)}px`;
    tip.hidden = false;
  }, 40);
}

function drawKinds() {
  const names = library.maps;
  byId("kinds").replaceChildren(...(names.length < 2 ? [] : names).map((name) => {
    const button = make("button", "chip", name);
    button.type = "button";
    button.setAttribute("aria-pressed", name === kind);
    button.addEventListener("click", () => {
      kind = name;
      drawKinds();
      drawKind();
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
  library = await ask("/library");
  kind = library.maps[0];
  byId("about").textContent = `${library.names.length.toLocaleString("en")} images of ${library.images}`;
  byId("cluster-count").value = library.clusters.length;
  startMap({
    clicked: (image) => showNeighbours(image).catch((error) => console.warn(error.message)),
    hovered: showTip,
    selected: (images) => show(`${counted(images.length, "image")} in the region`, images),
  });
  drawKinds();
  drawKind();
  drawMap();
  drawClusters();
  startDropping();
  await startLabels();
  on("back", "click", back);
  addEventListener("resize", sizeThumbs);
  for (const name of TABS) on(`tab-${name}`, "click", () => tab(name));
  for (const mode of ["pan", "lasso"]) {
    on(`drag-${mode}`, "click", () => {
      for (const other of ["pan", "lasso"]) byId(`drag-${other}`).setAttribute("aria-pressed", other === mode);
    });
  }
  on("more", "click", more);
  on("file", "change", () => searchWith(byId("file").files[0]));
  on("find-duplicates", "submit", findDuplicates);
  on("more-groups", "click", moreGroups);
  on("repeated", "click", showRepeated);
  on("regroup", "submit", async () => {
    Object.assign(library, await ask("/clusters", { count: Number(byId("cluster-count").value) }));
    drawClusters();
    drawMap();
  });
  on("export", "submit", async () => {
    const written = await ask("/export", { name: byId("list-name").value, images: shown.images });
    say(`${written.count} names written to ${written.path}`);
  });
  dark.addEventListener("change", repaint);
  document.body.dataset.ready = "yes";
});
