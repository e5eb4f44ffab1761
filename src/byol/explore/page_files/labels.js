"use strict";
// Classes that the user gives to images, and guesses for the others.

const UNLABELLED = "#9aa3ad";
let labels = { classes: [], label: [], undo: false }; // label, guess and percent have a number for each image
let colouring = "clusters";

const MODES = ["label-by-click", "remove-by-click"];
const HOW = {
  "": "To label, type a class, press Enter, and click its photos. Now a click enlarges a photo.",
  "label-by-click": "Type a class, then click its photos. Shift+click enlarges a photo.",
  "remove-by-click": "Click the photos that shall lose their label. Shift+click enlarges a photo.",
};
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
  button.lastElementChild.textContent = classOf(image) || button.dataset.caption || labelWords(image);
}

/** The images without a label whose thumbnails the open tab shows. */
function freeShown() {
  const thumbs = [...document.querySelectorAll(".thumbs .thumb[data-image]")].filter((thumb) => thumb.offsetParent);
  return [...new Set(thumbs.map((thumb) => Number(thumb.dataset.image)))].filter((image) => !classOf(image));
}

/** Says on the buttons for all images that are shown how many these are. */
function drawButtons() {
  const count = freeShown().length;
  byId("label-shown").textContent = `Label ${count.toLocaleString("en")} shown`;
  byId("accept").textContent = labels.guess ? `Accept ${count.toLocaleString("en")} ${count === 1 ? "guess" : "guesses"}` : "Accept guesses";
  byId("label-shown").disabled = count === 0;
  byId("accept").disabled = count === 0 || !labels.guess;
}

function copyButton(text) {
  const button = make("button", "entry", "Copy");
  button.type = "button";
  button.addEventListener("click", () => navigator.clipboard.writeText(text).then(() => say("copied; paste it into a terminal"), () => say("The browser copies nothing here: select the text by a click on it.", true)));
  return button;
}

/** What a click does or, while labelling, what comes next once every class can be learned. */
function drawHow() {
  const mode = MODES.find(isPressed) ?? "";
  const counts = labels.classes.map(() => 0);
  labels.label.forEach((number) => number >= 0 && counts[number]++);
  const isNext = library.fit && mode === "label-by-click" && counts.length > 1 && Math.min(...counts) > 1;
  byId("how").replaceChildren(...(isNext ? ["Every class has two labels or more. To sort all images:", copyButton(library.fit), make("code", "", library.fit)] : [HOW[mode]]));
}

/** How many of the images that the user was asked to label have a label. */
function drawProgress() {
  const { images, asked, listed } = shown;
  const count = images.reduce((sum, image) => sum + (labels.label[image] >= 0), 0);
  byId("progress").hidden = !asked || images.length === 0;
  const over = listed ? `All ${listed.toLocaleString("en")} of the list are labelled; of others: ` : "";
  byId("progress").textContent = over + (count === images.length ? `all ${count} labelled` : `${count} of these ${images.length} labelled`);
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
  const first = !labels.guess && content.guess;
  const added = content.classes.filter((name) => !labels.classes.includes(name));
  labels = content;
  if (first) colouring = "guesses";
  byId("undo").disabled = !labels.undo;
  byId("classes").replaceChildren(...labels.classes.map((name) => {
    const option = make("option");
    option.value = name;
    return option;
  }));
  document.querySelectorAll(".thumb[data-image]").forEach(drawCaption);
  drawProgress();
  drawButtons();
  drawHow();
  const count = labels.label.reduce((sum, number) => sum + (number >= 0), 0);
  byId("labelling").title = count ? `${counted(count, "image")} labelled, saved in ${labels.file}` : "";
  drawColours();
  if (change || colouring !== "clusters") drawMap();
  if (!change) return;
  const news = added.length ? `new class ${added.join(", ")}; ` : "";
  const elsewhere = labels.changed_elsewhere ? "; the file was changed elsewhere and read again first" : "";
  say(`${news}${count.toLocaleString("en")} labelled, saved in ${labels.file}${elsewhere}`);
}

/** Whether two names differ by one letter, which is no digit. */
function differByLetter(a, b) {
  let start = 0, end = 0;
  const least = Math.min(a.length, b.length);
  while (start < least && a[start] === b[start]) start++;
  while (end < least - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const rests = [a, b].map((name) => name.slice(start, name.length - end));
  return least >= 4 && rests.every((rest) => rest.length <= 1) && !/\d/.test(rests.join(""));
}

/** Whether one name may be a slip for the other: by case, spaces, plural or one letter. */
function areNear(...names) {
  const [a, b] = names.map((name) => name.toLowerCase().replace(/[\s_-]+/g, " ")).sort((one, other) => one.length - other.length);
  return [a, `${a}s`, `${a}es`, a.replace(/y$/, "ies")].includes(b) || differByLetter(a, b);
}

const wanted = () => byId("class").value.trim().replace(/\s+/g, " ");
const kept = new Set(); // new classes that the user wants beside ones with a near name
let askedAbout = "";

/** Whether the name may be given; if it is new and near to a class, the user is asked to press Enter. */
function mayBeGiven(name) {
  const near = labels.classes.includes(name) || kept.has(name) ? undefined : labels.classes.find((other) => areNear(name, other));
  if (near === undefined) return true;
  askedAbout = name;
  say(`new class ${name}? ${near} exists: press Enter in the box to keep ${name}, or correct it`, true);
  return false;
}

function wantedClass() {
  const name = wanted();
  if (name && mayBeGiven(name)) return name;
  if (!name) say("The box for the class is empty: type a class, then click its photos.", true);
  byId("class").focus();
  return "";
}

/** What Enter in the box does. */
function chooseClass() {
  const name = wanted();
  if (name && name === askedAbout) kept.add(name);
  if (!name || !mayBeGiven(name)) return;
  askedAbout = "";
  setMode("label-by-click");
  say(labels.classes.includes(name) ? "" : `new class ${name}: click its photos`);
}

let changes = Promise.resolve();

const given = []; // the class that each change gave, or ""

/** Asks for a change of labels after those before it were answered, and shows the labels. */
function change(path, body, name = "") {
  changes = changes.catch(() => {}).then(async () => {
    showLabels(await ask(path, body));
    given.push(name);
  });
  return changes;
}

/** Takes the last change back; the box then has the class of the one before it, unless the user typed another one. */
async function undo() {
  await change("/undo", {});
  given.pop();
  const undone = given.pop(), before = given.findLast(Boolean);
  if (before && undone === wanted()) byId("class").value = before;
}

/** What a click on an image does. */
async function clickImage(image, closer = false) {
  if (closer) return enlarge(image);
  if (isPressed("remove-by-click")) {
    const name = classOf(image);
    if (!name) return say(`${shortName(image)} has no label.`);
    await change("/label", { images: [image], class: "" });
    return say(`took the label ${name} from ${library.names[image]}`);
  }
  if (!isPressed("label-by-click")) return enlarge(image);
  const name = wantedClass();
  if (name && classOf(image) === name) return say(`${shortName(image)} is ${name} already; Remove by click takes a label away.`);
  return name && change("/label", { images: [image], class: name }, name);
}

/** Sets what a click does: one of `MODES`, or another text to enlarge. */
function setMode(mode) {
  for (const other of MODES) byId(other).setAttribute("aria-pressed", other === mode);
  drawHow();
}

async function showNext() {
  await changes.catch(() => {});
  const { images, listed, done, left } = await ask("/next?count=20");
  const end = Math.min(done + images.length, listed);
  const place = end > done + 1 ? `${done + 1}–${end}` : `${end}`;
  const title = done < listed ? `${place} of ${listed} to label first` : `${images.length} to label next, of ${left.toLocaleString("en")} without a label`;
  const still = shown.asked && images.length > 0 && String(images) === String(shown.images);
  setMode("label-by-click");
  show(images.length ? title : "Every image has a label", images, { asked: true, listed: done === listed ? listed : 0, ...(still ? { before: shown.before } : {}) });
  if (still) say(`None of these ${images.length} has a label yet: type a class, then click its photos.`);
}

async function startLabels() {
  showLabels(await ask("/labels"), false);
  setMode("");
  const seen = new MutationObserver(drawButtons);
  for (const name of TABS) seen.observe(byId(name), { subtree: true, childList: true, attributeFilter: ["hidden"] });
  on("labelling", "submit", chooseClass);
  on("label-shown", "click", () => {
    const name = wantedClass();
    return name && change("/label", { images: freeShown(), class: name, keep: true }, name);
  });
  for (const mode of MODES) on(mode, "click", () => setMode(isPressed(mode) ? "" : mode));
  on("accept", "click", () => change("/accept", { images: freeShown() }));
  on("undo", "click", undo);
  on("next", "click", showNext);
  if (library.ask) await showNext();
}
