"use strict";
// The map: points drawn into the pixels of a canvas, with moving, zooming, hit-testing by a grid, and a line around a region.

const CELLS = 256; // of the grid, along each axis
const REACH = 8; // pixels between the pointer and a point that it hits
const MARGIN = 0.03; // of each side
const OPACITY = 0.85;
const map = {
  canvas: null, pen: null, image: null, pixels: null, points: new Float32Array(0), groups: [], hidden: new Set(), visible: null, starts: null, inCells: null,
  x: 0, y: 0, zoom: 1, pointers: new Map(), moved: false, line: null, waits: false,
};

const cellOf = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(((value + 1) / 2) * CELLS)));

/** Sorts 0 to count - 1 by a number below `kinds` for each: [order, where each number starts]. */
function sorted(count, kinds, numberOf) {
  const starts = new Uint32Array(kinds + 1);
  for (let i = 0; i < count; i++) starts[numberOf(i) + 1]++;
  for (let kind = 0; kind < kinds; kind++) starts[kind + 1] += starts[kind];
  const next = starts.slice();
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[next[numberOf(i)]++] = i;
  return [order, starts];
}

/** Takes the points, [x, y, x, y, ...] from -1 to 1, and shows all of them. */
function placePoints(points) {
  map.points = points;
  [map.inCells, map.starts] = sorted(points.length / 2, CELLS * CELLS, (i) => cellOf(points[2 * i + 1]) * CELLS + cellOf(points[2 * i]));
  resetView();
}

/** Takes the group of each point, its number minus `least`, and the groups' titles and colours. */
function colourPoints({ numbers, least, groups }) {
  const [order, starts] = sorted(numbers.length, groups.length, (i) => numbers[i] - least);
  map.groups = groups.map((group, place) => ({ ...group, images: order.subarray(starts[place], starts[place + 1]) })).filter((group) => group.images.length);
  map.visible = new Uint8Array(numbers.length);
  drawLegend();
  showGroups();
}

function showGroups() {
  for (const { title, images } of map.groups) {
    const visible = map.hidden.has(title) ? 0 : 1;
    for (const point of images) map.visible[point] = visible;
  }
  repaint();
}

function drawLegend() {
  const few = map.groups.length <= 21;
  if (!few) map.hidden.clear();
  byId("legend").replaceChildren(...(few ? map.groups : []).map(({ title, colour }) => {
    const entry = make("button", "entry", title);
    const swatch = make("i");
    swatch.style.background = colour;
    entry.type = "button";
    entry.title = "Show or hide these points";
    entry.setAttribute("aria-pressed", !map.hidden.has(title));
    entry.prepend(swatch);
    entry.addEventListener("click", () => {
      if (!map.hidden.delete(title)) map.hidden.add(title);
      entry.setAttribute("aria-pressed", !map.hidden.has(title));
      showGroups();
    });
    return entry;
  }));
}

function resetView() {
  Object.assign(map, { x: 0, y: 0, zoom: 1 });
  repaint();
}

/** Pixels of the page for one unit of the map. */
const scales = () => ["clientWidth", "clientHeight"].map((side) => (map.zoom * map.canvas[side] * (1 - 2 * MARGIN)) / 2);

function toMap([left, top]) {
  const [across, down] = scales();
  return [map.x + (left - map.canvas.clientWidth / 2) / across, map.y - (top - map.canvas.clientHeight / 2) / down];
}

function zoomAt(place, factor) {
  const [x, y] = toMap(place);
  const zoom = Math.max(0.5, Math.min(1000, map.zoom * factor));
  map.x = x - ((x - map.x) * map.zoom) / zoom;
  map.y = y - ((y - map.y) * map.zoom) / zoom;
  map.zoom = zoom;
  repaint();
}

function move(right, down) {
  const [across, below] = scales();
  map.x -= right / across;
  map.y += down / below;
  repaint();
}

function repaint() {
  if (map.waits || !map.pixels) return;
  map.waits = true;
  requestAnimationFrame(() => {
    map.waits = false;
    paint();
  });
}

/** Opacities, 0 to 255, of the pixels of a disc: its mask, row by row, and the mask's side. */
function disc(radius) {
  const reach = Math.ceil(radius);
  const side = 2 * reach + 1;
  const mask = new Uint8Array(side * side);
  for (let place = 0; place < mask.length; place++) {
    const distance = Math.hypot((place % side) - reach, Math.floor(place / side) - reach);
    mask[place] = 255 * OPACITY * Math.max(0, Math.min(1, radius + 0.5 - distance));
  }
  return [mask, side];
}

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

function paint() {
  const { canvas, pixels, points, image } = map;
  const ratio = canvas.width / canvas.clientWidth;
  const [width, height] = [canvas.width, canvas.height];
  const [across, down] = scales().map((scale) => scale * ratio);
  const count = points.length / 2;
  const [mask, side] = disc((count > 20000 ? 1.4 : count > 4000 ? 2.2 : 3.2) * ratio * Math.min(2.5, Math.max(1, map.zoom) ** 0.35));
  const [red, green, blue] = channels(getComputedStyle(document.body).getPropertyValue("--page").trim());
  pixels.fill((255 << 24) | (blue << 16) | (green << 8) | red);
  const [left, top] = [width / 2 - map.x * across - (side - 1) / 2 + 0.5, height / 2 + map.y * down - (side - 1) / 2 + 0.5];
  for (const { title, colour, images } of map.groups) {
    if (map.hidden.has(title)) continue;
    const [r, g, b] = channels(colour);
    for (const point of images) {
      const column = Math.floor(points[2 * point] * across + left);
      const row = Math.floor(top - points[2 * point + 1] * down);
      if (column >= 0 && row >= 0 && column + side <= width && row + side <= height) stamp(pixels, row * width + column, width, mask, side, r, g, b);
    }
  }
  map.pen.putImageData(image, 0, 0);
  if (map.line) paintLine(ratio);
}

/** Blends a colour into the square of pixels that starts `at` one. */
function stamp(pixels, at, width, mask, side, r, g, b) {
  for (let y = 0, place = 0; y < side; y++, at += width - side) {
    for (let x = 0; x < side; x++, place++, at++) {
      const part = mask[place];
      if (part === 0) continue;
      const was = pixels[at];
      const red = was & 255;
      const green = (was >> 8) & 255;
      const blue = (was >> 16) & 255;
      pixels[at] = (255 << 24) | ((blue + (((b - blue) * part) >> 8)) << 16) | ((green + (((g - green) * part) >> 8)) << 8) | (red + (((r - red) * part) >> 8));
    }
  }
}

function paintLine(ratio) {
  map.pen.strokeStyle = getComputedStyle(document.body).color;
  map.pen.lineWidth = 1.5 * ratio;
  map.pen.beginPath();
  for (const [left, top] of map.line) map.pen.lineTo(left * ratio, top * ratio);
  map.pen.closePath();
  map.pen.stroke();
}

/** The visible point nearest to a place of the canvas, within `REACH`; -1 if there is none. */
function pointAt(place) {
  const [x, y] = toMap(place);
  const [across, down] = scales();
  let [nearest, least] = [-1, REACH * REACH];
  for (let row = cellOf(y - REACH / down); row <= cellOf(y + REACH / down); row++) {
    for (let column = cellOf(x - REACH / across); column <= cellOf(x + REACH / across); column++) {
      const cell = row * CELLS + column;
      for (let at = map.starts[cell]; at < map.starts[cell + 1]; at++) {
        const point = map.inCells[at];
        const distance = ((map.points[2 * point] - x) * across) ** 2 + ((map.points[2 * point + 1] - y) * down) ** 2;
        if (distance < least && map.visible[point]) [nearest, least] = [point, distance];
      }
    }
  }
  return nearest;
}

/** The visible points inside a line, which is a list of places of the canvas. */
function pointsInside(line) {
  const corners = line.map(toMap);
  const [low, high] = [Math.min, Math.max].map((extreme) => [0, 1].map((axis) => corners.reduce((so, corner) => extreme(so, corner[axis]), corners[0][axis])));
  const inside = (x, y) => {
    let odd = false;
    for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
      const [[xi, yi], [xj, yj]] = [corners[i], corners[j]];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
    }
    return odd;
  };
  const found = [];
  for (let point = 0; point < map.visible.length; point++) {
    const x = map.points[2 * point];
    const y = map.points[2 * point + 1];
    if (map.visible[point] && x >= low[0] && x <= high[0] && y >= low[1] && y <= high[1] && inside(x, y)) found.push(point);
  }
  return found;
}

const selects = () => byId("drag-lasso").getAttribute("aria-pressed") === "true";
const placeOf = (event) => [event.offsetX, event.offsetY];
const apart = ([[a, b], [c, d]]) => Math.hypot(a - c, b - d);

function press(event, { hovered }) {
  map.canvas.setPointerCapture(event.pointerId);
  map.pointers.set(event.pointerId, placeOf(event));
  map.moved = map.pointers.size > 1;
  map.line = selects() && map.pointers.size === 1 ? [placeOf(event)] : null;
  hovered(-1, event);
}

function drag(event, { hovered }) {
  const before = map.pointers.get(event.pointerId);
  const place = placeOf(event);
  if (!before) return hovered(map.groups.length ? pointAt(place) : -1, event);
  const spread = map.pointers.size > 1 ? apart([...map.pointers.values()]) : 0;
  if (!map.moved && apart([before, place]) < 3) return undefined;
  map.moved = true;
  map.pointers.set(event.pointerId, place);
  if (map.line) {
    map.line.push(place);
    repaint();
  } else if (spread) {
    const both = [...map.pointers.values()];
    zoomAt([(both[0][0] + both[1][0]) / 2, (both[0][1] + both[1][1]) / 2], apart(both) / Math.max(1, spread));
  } else {
    move(place[0] - before[0], place[1] - before[1]);
  }
  return undefined;
}

function release(event, { clicked, selected }) {
  if (!map.pointers.delete(event.pointerId)) return;
  const line = map.line;
  map.line = null;
  if (line && map.moved) {
    repaint();
    const images = pointsInside(line);
    if (images.length) selected(images);
  } else if (!map.moved) {
    const point = pointAt(placeOf(event));
    if (point >= 0) clicked(point);
  }
}

const zoomBy = (factor) => zoomAt([map.canvas.clientWidth / 2, map.canvas.clientHeight / 2], factor);
const KEYS = {
  ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40),
  "+": () => zoomBy(1.3), "-": () => zoomBy(1 / 1.3), 0: resetView,
};

/** Starts the map; `events` has functions for a point that is clicked or hovered (-1: none), and for points that are selected. */
function startMap(events) {
  const canvas = (map.canvas = byId("map"));
  map.pen = canvas.getContext("2d", { alpha: false });
  canvas.addEventListener("pointerdown", (event) => press(event, events));
  canvas.addEventListener("pointermove", (event) => drag(event, events));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => release(event, events));
  canvas.addEventListener("pointerleave", (event) => events.hovered(-1, event));
  canvas.addEventListener("dblclick", resetView);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(placeOf(event), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  new ResizeObserver(() => { // a message makes it lower
    [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
    map.image = map.pen.createImageData(canvas.width, canvas.height);
    map.pixels = new Uint32Array(map.image.data.buffer);
    paint();
  }).observe(canvas);
}
