"use strict";
// What all pages use: the content, elements, thumbnails.

const content = JSON.parse(document.getElementById("content").textContent);
const COLOURS = ["#4269d0", "#efa31d", "#ff725c", "#3ca951", "#a463f2", "#38b2b8", "#e85fa0", "#9c6b4e", "#7f8792", "#86a832",
  "#97bbf5", "#f7d27a", "#ffb3a7", "#9fd9a9", "#d1b2f8", "#a6e0e3", "#f5afd0", "#cfb19f", "#c3c8cf", "#c7da8f"];
const colour = (number) => COLOURS[number % COLOURS.length];
const byId = (id) => document.getElementById(id);

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** A button that is pressed or not; `act` gets the new state. */
function chip(text, pressed, act, swatch = "") {
  const button = make("button", "chip");
  button.type = "button";
  if (swatch) {
    button.style.setProperty("--swatch", swatch);
    button.append(make("i"));
  }
  button.append(make("span", "", text));
  button.setAttribute("aria-pressed", pressed);
  button.addEventListener("click", () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", now);
    act(now, button);
  });
  return button;
}

/** Buttons of which one is pressed. */
function choice(place, names, chosen, act) {
  place.replaceChildren();
  if (names.length < 2) return;
  names.forEach((name, number) => {
    place.append(chip(name, number === chosen, () => {
      [...place.children].forEach((other, n) => other.setAttribute("aria-pressed", n === number));
      act(number);
    }));
  });
}

const shortName = (name) => name.split("/").pop();

function className(point) {
  const { labels, classes } = content.points;
  return labels === null ? "" : classes[labels[point]];
}

/** Side in CSS pixels at which thumbnails look right: whole multiples for tiny ones. */
function naturalSide() {
  const { side, pixelated } = content.sheet;
  return pixelated ? side * Math.max(1, Math.round(56 / side)) : side;
}

/** The thumbnail of a point; choosing it shows its neighbours. */
function thumb(point, side = naturalSide(), tag = "button") {
  const element = make(tag, "thumb");
  if (tag === "button") {
    element.type = "button";
    element.title = [content.points.names[point], className(point)].filter(Boolean).join("\n");
    element.setAttribute("aria-label", element.title);
    element.addEventListener("click", () => document.dispatchEvent(new CustomEvent("choose", { detail: point })));
  }
  element.style.width = element.style.height = `${side}px`;
  place(element, content.sheet, point, side);
  return element;
}

/** Moves the background of `element` to one tile of a sheet; tiles that are not on it stay grey. */
function place(element, sheet, number, side) {
  if (number >= sheet.columns * sheet.rows || (sheet === content.sheet && number >= content.points.num_thumbnails)) {
    element.style.backgroundImage = "none";
    return;
  }
  if (sheet.pixelated) element.classList.add("pixelated");
  element.style.backgroundSize = `${sheet.columns * side}px ${sheet.rows * side}px`;
  element.style.backgroundPosition = `${-(number % sheet.columns) * side}px ${-Math.floor(number / sheet.columns) * side}px`;
}
