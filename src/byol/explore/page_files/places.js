"use strict";
// Where else a place of an image is: a click in the large image asks, and the answer is drawn again while more images are read.

const PLACES = 23;
const DARKEST = 110; // opacity of the shade on what is not alike, of 255
let placesAsked = 0; // number of the newest question

/** The place under the pointer as fractions of the picture's width and height, which may be smaller than its element. */
function placeIn(picture, event) {
  const frame = picture.getBoundingClientRect();
  const scale = Math.min(frame.width / picture.naturalWidth, frame.height / picture.naturalHeight);
  const within = (at, side, whole) => Math.max(0, Math.min(1, (at - (whole - side * scale) / 2) / (side * scale)));
  return [within(event.clientX - frame.left, picture.naturalWidth, frame.width), within(event.clientY - frame.top, picture.naturalHeight, frame.height)];
}

async function findPlaces(image, [x, y]) {
  const number = ++placesAsked;
  let listed = "";
  show(`Places like the one chosen in ${shortName(image)}`, []);
  shown.note = byId("note").textContent = "Reading the maps of the first images…";
  const { title } = shown;
  const current = () => number === placesAsked && shown.title === title;
  while (current()) {
    const found = await ask(`/places?image=${image}&x=${x.toFixed(4)}&y=${y.toFixed(4)}&count=${PLACES}`);
    if (!current()) return;
    const all = found.wanted < library.names.length ? `, a random part of ${library.names.length.toLocaleString("en")}` : "";
    const read = `${found.read.toLocaleString("en")} of ${found.wanted.toLocaleString("en")} images${all}`;
    shown.note = byId("note").textContent = `Compared with ${read}. Bright parts are similar; the ring is on the most similar place.`;
    if (listed !== (listed = String(found.places.map(([other]) => other)))) drawPlaces(found);
    if (found.read >= found.wanted) return;
    await new Promise((goOn) => setTimeout(goOn, 700));
  }
}

function drawPlaces({ places, cosines }) {
  let start = 0;
  const drawn = places.map(([image, similarity, row, column, rows, columns, ratio], place) => {
    const cells = cosines.subarray(start, (start += rows * columns));
    return placeFigure(image, place ? similarity.toFixed(2) : "chosen", row, column, rows, columns, ratio, cells);
  });
  Object.assign(shown, { images: places.map(([image]) => image), figures: drawn, count: places.length });
  byId("thumbs").replaceChildren(...drawn);
  byId("export").hidden = false;
  sizeThumbs();
}

/** A thumbnail, dark where it is not like the chosen place, with a ring on its most similar one. */
function placeFigure(image, caption, row, column, rows, columns, ratio, cells) {
  const figure = thumb(image, caption), picture = figure.querySelector("img"), frame = make("i", "place-frame");
  const shade = make("canvas"), ring = make("i", "place-ring"), pixels = new ImageData(columns, rows);
  cells.forEach((cosine, n) => { pixels.data[4 * n + 3] = DARKEST * (1 - Math.max(0, Math.min(1, cosine))); });
  shade.width = columns;
  shade.height = rows;
  shade.getContext("2d").putImageData(pixels, 0, 0);
  // a thumbnail is square, with the picture in its middle
  const width = Math.min(1, ratio), height = Math.min(1, 1 / ratio), left = (1 - width) / 2, top = (1 - height) / 2;
  const set = (element, values) => Object.entries(values).forEach(([name, value]) => { element.style[name] = `${100 * value}%`; });
  set(shade, { left, top, width, height });
  set(ring, { left: left + width * (column + 0.5) / columns, top: top + height * (row + 0.5) / rows });
  picture.before(frame);
  frame.append(picture, shade, ring);
  return figure;
}

addEventListener("DOMContentLoaded", () => {
  const dialog = byId("large"), picture = dialog.querySelector("img");
  picture.title = "Click a place to see where else it is";
  dialog.querySelector("form").before(make("p", "hint", "Click a place in the image to see where else it is."));
  picture.addEventListener("click", (event) => {
    const place = placeIn(picture, event);
    dialog.close();
    findPlaces(Number(dialog.dataset.image), place).catch((error) => console.warn(error.message));
  });
});
