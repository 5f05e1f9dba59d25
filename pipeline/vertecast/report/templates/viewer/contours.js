// Smooth outlines of what a slice holds, as closed lines in its columns and rows.

// Marching squares: which edges of a cell the line joins, the inside on its right. Bits: upper left, upper right,
// lower right, lower left corner inside. Edges: 0 top, 1 right, 2 bottom, 3 left.
const CROSSINGS = [
  [], [[0, 3]], [[1, 0]], [[1, 3]], [[2, 1]], [[0, 3], [2, 1]], [[2, 0]], [[2, 3]],
  [[3, 2]], [[0, 2]], [[1, 0], [3, 2]], [[1, 2]], [[3, 1]], [[0, 1]], [[3, 0]], [],
];

// The mask of some codes, blurred by 1-2-1 in both directions so that its 0.5 line shows no stairs; cut to where it is.
function smoothed(slice, isInside) {
  let [left, top, right, bottom] = [slice.width, slice.height, -1, -1];
  for (let row = 0, n = 0; row < slice.height; row++) {
    for (let column = 0; column < slice.width; column++, n++) {
      if (!isInside[slice.codes[n]]) continue;
      left = Math.min(left, column);
      right = Math.max(right, column);
      top = Math.min(top, row);
      bottom = row;
    }
  }
  if (right < 0) return null;
  const margin = 2;
  const width = right - left + 1 + 2 * margin;
  const height = bottom - top + 1 + 2 * margin;
  let values = new Float32Array(width * height);
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) {
      const inside = isInside[slice.codes[row * slice.width + column]];
      values[(row - top + margin) * width + column - left + margin] = inside ? 1 : 0;
    }
  }
  for (const step of [1, width]) {
    const next = new Float32Array(values.length);
    for (let n = step; n < values.length - step; n++) {
      next[n] = (values[n - step] + 2 * values[n] + values[n + step]) / 4;
    }
    values = next;
  }
  return { values, width, height, left: left - margin, top: top - margin };
}

// Every closed line around some codes (a table of 256 truths), as a list of [column, row].
function outlines(slice, isInside) {
  const mask = smoothed(slice, isInside);
  if (!mask) return [];
  const { values, width, height, left, top } = mask;
  const next = new Map();
  const edge = (n, side) => 2 * (side === 2 ? n + width : side === 1 ? n + 1 : n) + (side === 1 || side === 3 ? 1 : 0);
  for (let row = 0; row < height - 1; row++) {
    for (let column = 0; column < width - 1; column++) {
      const n = row * width + column;
      const corners = [n, n + 1, n + width + 1, n + width];
      const kind = corners.reduce((bits, at, bit) => bits | (values[at] >= 0.5 ? 1 << bit : 0), 0);
      for (const [from, to] of CROSSINGS[kind]) next.set(edge(n, from), edge(n, to));
    }
  }
  const crossing = (key) => {
    const n = key >> 1;
    const down = key & 1;
    const [a, b] = [values[n], values[n + (down ? width : 1)]];
    const share = (0.5 - a) / (b - a);
    return [left + (n % width) + (down ? 0 : share), top + Math.floor(n / width) + (down ? share : 0)];
  };
  const lines = [];
  while (next.size) {
    const line = [];
    let key = next.keys().next().value;
    while (next.has(key)) {
      line.push(crossing(key));
      const following = next.get(key);
      next.delete(key);
      key = following;
    }
    lines.push(line);
  }
  return lines;
}

function pathOf(lines) {
  const path = new Path2D();
  for (const line of lines) {
    line.forEach(([x, y], n) => (n ? path.lineTo(x, y) : path.moveTo(x, y)));
    path.closePath();
  }
  return path;
}
