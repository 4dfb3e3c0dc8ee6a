// People on a canvas, as rtmposeoverlay draws them on a picture.

const LEFT = "rgb(0 160 255)";
const CENTRE = "rgb(255 255 255)";
const RIGHT = "rgb(255 140 0)";
const OUTLINE = "rgb(16 16 16)";
const colour = (side) => (side < 0 ? LEFT : side > 0 ? RIGHT : CENTRE);

const UNKNOWN = { names: [], sides: [], fine: [], links: [] };
const known = new Map();

/** Points' names, sides and links of a skeleton: from the program, once. */
export function skeleton(name) {
  if (name === undefined) return UNKNOWN;
  if (!known.has(name)) {
    known.set(name, UNKNOWN);
    const ask = async () => {
      const response = await fetch(`skeletons/${encodeURIComponent(name)}`);
      if (response.ok) known.set(name, await response.json());
    };
    ask().catch(() => known.delete(name));
  }
  return known.get(name);
}

/** Where a picture is in a box that it fits in as a whole. */
export function fit(width, height, boxWidth, boxHeight) {
  const scale = Math.min(boxWidth / width, boxHeight / height);
  return {
    left: (boxWidth - scale * width) / 2,
    top: (boxHeight - scale * height) / 2,
    width: scale * width,
    height: scale * height,
  };
}

/** A link from the middle outwards belongs to that side; one from left to right to none. */
function linkSide(a, b) {
  if (!a || !b) return a || b || 0;
  return a === b ? a : 0;
}

/** Draws the people of a frame into that part of the canvas. */
export function draw(context, { left, top, width, height }, { people = [], skeleton: name }, settings) {
  const bones = skeleton(name);
  const unit = Math.max(1.5, Math.min(width, height) / 270);
  const outline = Math.max(0.75, unit / 3);
  const isSeen = (point) => point && point[2] >= settings.threshold;
  const at = (point) => [left + point[0] * width, top + point[1] * height];
  const stroke = (path, line, style) => {
    context.lineWidth = line;
    context.strokeStyle = style;
    context.stroke(path);
  };
  context.lineCap = context.lineJoin = "round";

  for (const { points, box, id } of people) {
    if (settings.boxes) {
      const path = new Path2D();
      path.rect(...at(box), box[2] * width, box[3] * height);
      stroke(path, unit / 2 + 2 * outline, OUTLINE);
      stroke(path, unit / 2, CENTRE);
    }
    if (settings.skeletons) {
      const links = bones.links.filter(([a, b]) => isSeen(points[a]) && isSeen(points[b])).map(([a, b]) => {
        const path = new Path2D();
        path.moveTo(...at(points[a]));
        path.lineTo(...at(points[b]));
        const line = (bones.fine[b] ? 0.5 : 1) * unit;
        return { path, line, style: colour(linkSide(bones.sides[a], bones.sides[b])) };
      });
      // All outlines lie below all lines, or each joint would show the outline of its last link.
      for (const { path, line } of links) stroke(path, line + 2 * outline, OUTLINE);
      for (const { path, line, style } of links) stroke(path, line, style);
    }
    if (settings.points) {
      points.forEach((point, index) => {
        if (!isSeen(point)) return;
        const path = new Path2D();
        path.arc(...at(point), (bones.fine[index] ? 0.625 : 1.25) * unit, 0, 2 * Math.PI);
        stroke(path, 2 * outline, OUTLINE);
        context.fillStyle = colour(bones.sides[index] ?? 0);
        context.fill(path);
      });
    }
    if (settings.ids && id !== null) drawId(context, at(box), { left, top, width, height }, `${id}`, unit);
  }
}

/** The id above the left end of the box's upper side, moved into the picture where it would stick out. */
function drawId(context, [x, y], { left, top, width, height }, text, unit) {
  const size = Math.max(12, 6 * unit);
  context.font = `600 ${size}px system-ui, sans-serif`;
  const plate = { width: context.measureText(text).width + size, height: 1.5 * size };
  const within = (value, least, most) => Math.max(least, Math.min(value, most));
  const from = within(x, left, left + width - plate.width);
  const upper = within(y - plate.height, top, top + height - plate.height);
  context.fillStyle = OUTLINE;
  context.beginPath();
  context.roundRect(from, upper, plate.width, plate.height, size / 3);
  context.fill();
  context.fillStyle = CENTRE;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, from + plate.width / 2, upper + plate.height / 2);
}

/** The point that is nearest to a place of the canvas, within so many pixels: in words, and where it is. */
export function nearest({ left, top, width, height }, { people = [], skeleton: name }, settings, [x, y], within) {
  const bones = skeleton(name);
  let found = null;
  for (const { points, id } of people) {
    points.forEach(([px, py, score], index) => {
      const place = [left + px * width, top + py * height];
      const distance = Math.hypot(place[0] - x, place[1] - y);
      if (score < settings.threshold || distance > within || distance >= found?.distance) return;
      const words = [(bones.names[index] ?? `point ${index}`).replaceAll("_", " "), score.toFixed(2)];
      if (id !== null) words.push(`id ${id}`);
      found = { distance, place, text: words.join(", ") };
    });
  }
  return found;
}
