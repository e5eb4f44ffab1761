"use strict";
// Classes that the user gives to images, and guesses for the others.

const UNLABELLED = "#9aa3ad";
let labels = { classes: [], label: [], undo: false }; // label, guess and percent have a number for each image
let colouring = "clusters";

const MODES = ["label-by-click", "remove-by-click"];
const isPressed = (id) => byId(id).getAttribute("aria-pressed") === "true";
const classOf = (image) => (labels.label[image] >= 0 ? labels.classes[labels.label[image]] : "");

/** The image's class, or the guess with its probability, or nothing. */
function labelWords(image) {
  if (classOf(image)) return classOf(image);
  return labels.guess ? `${labels.classes[labels.guess[image]]}? ${(labels.percent[image] / 100).toFixed(2)}` : "";
}

function drawCaption(button) {
  const image = Number(button.dataset.image);
  button.classList.toggle("labelled", Boolean(classOf(image)));
  const caption = classOf(image) || button.dataset.caption || labelWords(image);
  button.lastElementChild.textContent = caption || shortName(image);
  button.lastElementChild.classList.toggle("name", !caption);
}

/** How many of the images that the user was asked to label have a label. */
function drawProgress() {
  const { images, asked } = shown;
  const count = images.reduce((sum, image) => sum + (labels.label[image] >= 0), 0);
  byId("progress").hidden = !asked || images.length === 0;
  byId("progress").textContent = count === images.length ? `all ${count} labelled` : `${count} of these ${images.length} labelled`;
}

/** What the map shows in one colour each: clusters, classes, or guesses. The group of an image is its number minus `least`. */
function groups() {
  if (colouring === "clusters") {
    const all = library.clusters.map((cluster, place) => ({ title: clusterTitle(cluster), colour: COLOURS[place % COLOURS.length] }));
    return { numbers: library.cluster, least: 0, groups: all };
  }
  const classes = labels.classes.map((title, place) => ({ title, colour: COLOURS[place % COLOURS.length] }));
  const numbers = colouring === "guesses" && labels.guess ? labels.guess : labels.label;
  return { numbers, least: -1, groups: [{ title: "no label", colour: UNLABELLED }, ...classes] };
}

function drawColours() {
  const names = ["clusters", ...(labels.classes.length ? ["labels"] : []), ...(labels.guess ? ["guesses"] : [])];
  if (!names.includes(colouring)) colouring = "clusters";
  byId("colours").replaceChildren(...(names.length < 2 ? [] : names).map((name) => {
    const button = make("button", "chip", name);
    button.type = "button";
    button.setAttribute("aria-pressed", name === colouring);
    button.addEventListener("click", () => {
      colouring = name;
      map.hidden.clear();
      drawColours();
      drawMap();
    });
    return button;
  }));
}

function showLabels(content, change = true) {
  const first = change && !labels.guess && content.guess;
  labels = content;
  if (first) colouring = "guesses";
  byId("undo").disabled = !labels.undo;
  byId("accept").disabled = !labels.guess;
  byId("classes").replaceChildren(...labels.classes.map((name) => {
    const option = make("option");
    option.value = name;
    return option;
  }));
  document.querySelectorAll(".thumb[data-image]").forEach(drawCaption);
  drawProgress();
  const count = labels.label.reduce((sum, number) => sum + (number >= 0), 0);
  byId("labelling").title = count ? `${counted(count, "image")} labelled, saved in ${labels.file}` : "";
  drawColours();
  if (change || colouring !== "clusters") drawMap();
  if (change) say(`${count.toLocaleString("en")} labelled, saved in ${labels.file}`);
}

function wantedClass() {
  const name = byId("class").value.trim();
  if (name) return name;
  say("Type the class to give first.", true);
  byId("class").focus();
  return "";
}

let changes = Promise.resolve();

/** Asks for a change of labels after those before it were answered, and shows the labels. */
function change(path, body) {
  changes = changes.catch(() => {}).then(async () => showLabels(await ask(path, body)));
  return changes;
}

/** What a click on an image does. */
async function clickImage(image) {
  if (isPressed("remove-by-click")) {
    const name = classOf(image);
    if (!name) return say(`${shortName(image)} has no label.`);
    await change("/label", { images: [image], class: "" });
    return say(`took the label ${name} from ${library.names[image]}`);
  }
  if (!isPressed("label-by-click")) return enlarge(image);
  const name = wantedClass();
  if (name && classOf(image) === name) return say(`${shortName(image)} is ${name} already; Remove by click takes a label away.`);
  return name && change("/label", { images: [image], class: name });
}

/** Sets what a click does: one of `MODES`, or another text to enlarge. */
function setMode(mode) {
  for (const other of MODES) byId(other).setAttribute("aria-pressed", other === mode);
}

async function showNext() {
  await changes.catch(() => {});
  const { images, listed, done, left } = await ask("/next?count=20");
  const end = Math.min(done + images.length, listed);
  const place = end > done + 1 ? `${done + 1}–${end}` : `${end}`;
  const title = done < listed ? `${place} of ${listed} to label first` : `${images.length} to label next, of ${left.toLocaleString("en")} without a label`;
  setMode("label-by-click");
  show(images.length ? title : "Every image has a label", images, { asked: true });
}

async function startLabels() {
  showLabels(await ask("/labels"), false);
  on("labelling", "submit", () => setMode("label-by-click"));
  on("label-shown", "click", () => {
    const name = wantedClass();
    return name && change("/label", { images: shown.images, class: name });
  });
  for (const mode of MODES) on(mode, "click", () => setMode(isPressed(mode) ? "" : mode));
  on("accept", "click", () => change("/accept", { images: shown.images }));
  on("undo", "click", () => change("/undo", {}));
  on("next", "click", showNext);
  if (library.listed) await showNext();
}
