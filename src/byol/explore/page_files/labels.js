"use strict";
// Classes that the user gives to images, and guesses for the others.

const UNLABELLED = "#9aa3ad";
let labels = { classes: [], label: [], undo: false }; // label, guess and percent have a number for each image
let colouring = "clusters";

const labelsByClick = () => byId("label-by-click").getAttribute("aria-pressed") === "true";
const classOf = (image) => (labels.label[image] >= 0 ? labels.classes[labels.label[image]] : "");

/** The image's class, or the guess with its probability, or nothing. */
function labelWords(image) {
  if (classOf(image)) return classOf(image);
  return labels.guess ? `${labels.classes[labels.guess[image]]}? ${(labels.percent[image] / 100).toFixed(2)}` : "";
}

function drawCaption(button) {
  const image = Number(button.dataset.image);
  button.classList.toggle("labelled", Boolean(classOf(image)));
  button.lastElementChild.textContent = classOf(image) || button.dataset.caption || labelWords(image) || shortName(image);
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

async function toggleLabel(image) {
  const name = wantedClass();
  if (name) showLabels(await ask("/label", { images: [image], class: classOf(image) === name ? "" : name }));
}

async function startLabels() {
  showLabels(await ask("/labels"), false);
  on("labelling", "submit", () => byId("label-by-click").setAttribute("aria-pressed", true));
  on("label-shown", "click", async () => {
    const name = wantedClass();
    if (name) showLabels(await ask("/label", { images: shown.images, class: name }));
  });
  on("label-by-click", "click", () => byId("label-by-click").setAttribute("aria-pressed", !labelsByClick()));
  on("accept", "click", async () => showLabels(await ask("/accept", { images: shown.images })));
  on("undo", "click", async () => showLabels(await ask("/undo", {})));
  on("next", "click", async () => {
    const images = await ask("/next?count=20");
    byId("label-by-click").setAttribute("aria-pressed", true);
    show(images.length ? `${images.length} to label next` : "Every image has a label", images);
  });
}
