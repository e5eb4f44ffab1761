// Galleries of images: neighbours, groups, odd and typical ones, near-duplicates.

const WITH_LOOKS = Object.keys(content.looks).map(Number);
const at = { run: WITH_LOOKS[0], kind: 0, colour: 0, pictures: true, offGroups: new Set() };
const seen = () => content.looks[at.run];

function startLooks() {
  document.body.style.setProperty("--side", `${naturalSide()}px`);
  drawNeighbours(seen().queries);
  drawClusters();
  for (const name of ["typical", "odd"]) byId(name).replaceChildren(...seen()[name].map((point) => thumb(point)));
  drawPairs();
  startParts();
  if (content.points.labels !== null) {
    byId("mismatch-key").replaceChildren(make("i", "key"), "marks a different class from that of the first image.");
  }
  if (seen().classes) drawClassTable();
}

function captioned(point, text, other = false) {
  const figure = make("figure", other ? "other" : "");
  const picture = thumb(point);
  const caption = make("figcaption", "", text);
  caption.style.width = picture.style.width;
  figure.append(picture, caption);
  return figure;
}

function neighbourRow(point) {
  const row = make("div", "row");
  const query = captioned(point, className(point) || shortName(content.points.names[point]));
  query.classList.add("query");
  const near = make("div", "thumbs");
  seen().neighbours[point].forEach((other, k) => {
    near.append(captioned(other, seen().similarities[point][k].toFixed(3), className(other) !== className(point)));
  });
  row.append(query, near);
  return row;
}

const drawNeighbours = (points) => byId("neighbour-rows").replaceChildren(...points.map(neighbourRow));

function choosePoint(point) {
  const place = byId("chosen");
  place.hidden = false;
  const title = make("h3", "", [content.points.names[point], className(point)].filter(Boolean).join(" · "));
  place.replaceChildren(title);
  if (point < seen().neighbours.length) place.append(neighbourRow(point));
  else place.append(make("p", "caption", "Neighbours are shown for the images with thumbnails."));
}

document.addEventListener("choose", (event) => {
  choosePoint(event.detail);
  byId("chosen").scrollIntoView({ block: "center" });
});

function drawClusters() {
  byId("cluster-cards").replaceChildren(...seen().clusters.map(({ size, members }, number) => {
    const card = make("div", "card");
    card.append(make("h3", "", `Group ${number + 1}`), make("p", "caption", `${size} images${mostly(number)}`));
    const pictures = make("div", "thumbs cut");
    pictures.append(...members.map((point) => thumb(point)));
    card.append(pictures);
    return card;
  }));
}

function mostly(cluster) {
  if (content.points.labels === null) return "";
  const counts = new Map();
  let total = 0;
  seen().cluster.forEach((number, point) => {
    if (number !== cluster) return;
    total += 1;
    counts.set(className(point), (counts.get(className(point)) ?? 0) + 1);
  });
  const [name, count] = [...counts.entries()].sort((a, b) => b[1] - a[1])[0];
  return `, ${Math.round((100 * count) / total)} % ${name}`;
}

function drawPairs() {
  const equal = seen().pairs.filter(([, , , same]) => same).length;
  byId("pairs-key").textContent = equal ? `${equal} of the ${seen().pairs.length} pairs (outlined) ${equal > 1 ? "are" : "is"} the same picture twice.` : "No two of them are the same picture.";
  byId("pairs").replaceChildren(...seen().pairs.map(([a, b, similarity, same]) => {
    const figure = make("figure", same ? "pair same" : "pair");
    const pictures = make("div", "thumbs");
    pictures.append(thumb(a), thumb(b));
    figure.append(pictures, make("figcaption", "", similarity.toFixed(4)));
    return figure;
  }));
}

byId("other-queries")?.addEventListener("click", () => {
  const count = seen().neighbours.length;
  drawNeighbours(Array.from({ length: Math.min(6, count) }, () => Math.floor(Math.random() * count)));
});
