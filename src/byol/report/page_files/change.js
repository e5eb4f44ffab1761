// Two encoders side by side: maps, neighbours, groups and near-duplicates.

const SIDES = ["start", "result"];
const SHOWN_GROUPS = 8;
const SMALL = 44; // pixels

function captioned(point, text, other = false) {
  const figure = make("figure", other ? "other" : "");
  const picture = thumb(point, SMALL, "span");
  const caption = make("figcaption", "", text);
  caption.style.width = `${SMALL}px`;
  figure.append(picture, caption);
  return figure;
}

function drawMaps() {
  const groups = content.points.labels ?? content.looks.result.cluster;
  const dots = SIDES.map((side) => {
    const [xs, ys] = Object.values(content.looks[side].maps)[0];
    const plane = byId(`map-${side}`);
    const found = xs.map((x, point) => {
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", -ys[point]);
      dot.setAttribute("r", 0.012);
      dot.setAttribute("fill", colour(groups[point] ?? 0));
      dot.dataset.point = point;
      return dot;
    });
    plane.append(...found);
    plane.addEventListener("pointerover", (event) => mark(event.target.dataset.point, event));
    plane.addEventListener("pointerleave", () => mark(undefined));
    return found;
  });
  function mark(point, event) {
    document.querySelectorAll(".plane .marked").forEach((dot) => dot.classList.remove("marked"));
    const tip = byId("tip");
    tip.hidden = point === undefined;
    if (point === undefined) return;
    dots.forEach((found) => {
      const dot = found[point];
      dot?.classList.add("marked");
      dot?.parentNode.append(dot); // above all others
    });
    tip.replaceChildren(thumb(Number(point), 96, "span"), make("b", "", className(point) || shortName(content.points.names[point])));
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 140)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  }
}

function drawMoved() {
  byId("moved-rows").replaceChildren(...content.moved.filter((point) => point < content.looks.start.neighbours.length).map((point) => {
    const row = make("div", "row");
    const query = captioned(point, className(point) || shortName(content.points.names[point]));
    query.classList.add("query");
    row.append(query, ...SIDES.map((side) => {
      const near = make("div", "thumbs");
      content.looks[side].neighbours[point].forEach((other, k) => {
        near.append(captioned(other, content.looks[side].similarities[point][k].toFixed(2), className(other) !== className(point)));
      });
      return near;
    }));
    return row;
  }));
}

function drawGroups() {
  for (const side of SIDES) {
    byId(`clusters-${side}`).replaceChildren(...content.looks[side].clusters.slice(0, SHOWN_GROUPS).map(({ size, members }) => {
      const card = make("div", "card");
      const pictures = make("div", "thumbs cut");
      pictures.append(...members.map((point) => thumb(point, SMALL, "span")));
      card.append(make("p", "caption", `${size} images`), pictures);
      return card;
    }));
    byId(`pairs-${side}`).replaceChildren(...content.looks[side].pairs.map(([a, b, similarity, same]) => {
      const figure = make("figure", same ? "pair same" : "pair");
      const pictures = make("div", "thumbs");
      pictures.append(thumb(a, SMALL, "span"), thumb(b, SMALL, "span"));
      figure.append(pictures, make("figcaption", "", similarity.toFixed(4)));
      return figure;
    }));
  }
}

addEventListener("DOMContentLoaded", () => {
  document.body.style.setProperty("--side", `${SMALL}px`);
  drawMaps();
  drawMoved();
  drawGroups();
  document.body.dataset.ready = "yes";
});
