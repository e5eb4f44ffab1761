// Parts of the images: colours of the maps' principal components, and the places most similar to the one that is chosen.

const PART_SIDE = 128, MOST_SHOWN = 40, MOST_MATCHES = 11;
let parts = null; // of the run that is shown: vectors, first cell of each image

function startParts() {
  const found = content.parts[at.run];
  byId("parts").hidden = !found;
  if (!found) return;
  const bytes = Uint8Array.from(atob(found.vectors), (letter) => letter.charCodeAt(0));
  let first = 0;
  const firsts = found.grids.map(([rows, columns]) => { const start = first; first += rows * columns; return start; });
  parts = { ...found, cells: new Int8Array(bytes.buffer), firsts };
  byId("part-rows").replaceChildren(...found.names.slice(0, MOST_SHOWN).map((_, image) => partPair(image)));
  byId("part-matches").hidden = true;
}

function partTile(image, kind) {
  const element = make("button", `part ${kind}-${at.run}`);
  element.type = "button";
  element.title = parts.names[image];
  element.setAttribute("aria-label", `${parts.names[image]}: choose a place`);
  element.style.width = element.style.height = `${PART_SIDE}px`;
  place(element, parts.sheet, image, PART_SIDE);
  element.addEventListener("click", (event) => chooseCell(image, cellAt(image, element, event)));
  return element;
}

function partPair(image) {
  const pair = make("div", "part-pair");
  pair.append(partTile(image, "part-image"), partTile(image, "part-colours"));
  return pair;
}

/** The cell under the pointer; the middle one if the keyboard chose. */
function cellAt(image, element, event) {
  const frame = element.getBoundingClientRect(), [left, top, width, height] = parts.boxes[image], [rows, columns] = parts.grids[image];
  const x = event.detail ? (event.clientX - frame.left) / frame.width : 0.5, y = event.detail ? (event.clientY - frame.top) / frame.height : 0.5;
  const within = (value, cells) => Math.max(0, Math.min(cells - 1, Math.floor(value * cells)));
  return within((y - top) / height, rows) * columns + within((x - left) / width, columns);
}

/** Cosine of every cell of every image with one cell, and the best cell of each image. */
function compareCells(image, cell) {
  const { cells, depth, firsts, grids } = parts;
  const query = cells.subarray((firsts[image] + cell) * depth, (firsts[image] + cell + 1) * depth);
  return grids.map(([rows, columns], other) => {
    const cosines = new Float32Array(rows * columns);
    let best = 0;
    for (let n = 0, at = firsts[other] * depth; n < cosines.length; n += 1, at += depth) {
      let sum = 0;
      for (let d = 0; d < depth; d += 1) sum += query[d] * cells[at + d];
      cosines[n] = sum / 16129;
      if (cosines[n] > cosines[best]) best = n;
    }
    return { image: other, cosines, best };
  });
}

function chooseCell(image, cell) {
  const all = compareCells(image, cell);
  const others = all.filter((match) => match.image !== image).sort((a, b) => b.cosines[b.best] - a.cosines[a.best]);
  const frame = byId("part-matches");
  frame.hidden = false;
  const own = { ...all[image], best: cell };
  frame.replaceChildren(make("h3", "", `Most similar places to the marked one of ${shortName(parts.names[image])}`), make("div", "thumbs"));
  frame.lastChild.append(matchFigure(own, "chosen"), ...others.slice(0, MOST_MATCHES).map((match) => matchFigure(match, match.cosines[match.best].toFixed(2))));
  frame.scrollIntoView({ block: "nearest" });
}

/** An image, bright where it is similar, with a mark on its best place. */
function matchFigure({ image, cosines, best }, text) {
  const figure = make("figure", "match"), picture = partTile(image, "part-image"), [left, top, width, height] = parts.boxes[image];
  const [rows, columns] = parts.grids[image], shade = make("canvas"), mark = make("i", "mark");
  shade.width = columns;
  shade.height = rows;
  const pixels = new ImageData(columns, rows);
  cosines.forEach((cosine, n) => { pixels.data[4 * n + 3] = 190 * (1 - Math.max(0, cosine)); });
  shade.getContext("2d").putImageData(pixels, 0, 0);
  const set = (element, x, y) => { element.style.left = `${PART_SIDE * x}px`; element.style.top = `${PART_SIDE * y}px`; };
  set(shade, left, top);
  shade.style.width = `${PART_SIDE * width}px`;
  shade.style.height = `${PART_SIDE * height}px`;
  set(mark, left + width * ((best % columns) + 0.5) / columns, top + height * (Math.floor(best / columns) + 0.5) / rows);
  picture.append(shade, mark);
  figure.append(picture, make("figcaption", "", text));
  return figure;
}
