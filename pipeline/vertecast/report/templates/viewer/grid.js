// The voxels of a scene: unpacked, and cut into slices.

// Of each plane: axes shown across, down and cut through; whether the down axis grows upwards; letters of its sides.
const PLANES = {
  sagittal: { across: 1, down: 2, through: 0, upwards: true, sides: ["A", "P"], ends: ["right", "left"] },
  coronal: { across: 0, down: 2, through: 1, upwards: true, sides: ["R", "L"], ends: ["front", "back"] },
  axial: { across: 0, down: 1, through: 2, upwards: false, sides: ["R", "L"], ends: ["below", "above"] },
  film: { across: 0, down: 1, through: 2, upwards: false, sides: ["", ""], ends: ["", ""] },
};

async function unpack(text) {
  const raw = atob(text);
  const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class Grid {
  constructor(scene, greys, codes) {
    [this.greys, this.codes, this.shape, this.spacing, this.curve] = [greys, codes, scene.shape, scene.spacing, scene.curve];
    this.middle = scene.start.map(Math.round);
  }

  static async of(scene) {
    return new Grid(scene, ...(await Promise.all([unpack(scene.greys), unpack(scene.codes)])));
  }

  // Index along an axis of the slice in the middle, at the height k: slices of a whole spine follow its curve.
  base(axis, k) {
    if (!this.curve || axis === 2) return this.middle[axis];
    const along = axis === 0 ? this.curve.i : this.curve.j;
    return along[Math.min(Math.max(Math.round(k), 0), along.length - 1)];
  }

  // First and last slice of an axis, counted from the middle.
  range(axis) {
    const bases = Array.from({ length: this.shape[2] }, (_, k) => this.base(axis, k));
    return [Math.ceil(-Math.max(...bases)), Math.floor(this.shape[axis] - 1 - Math.min(...bases))];
  }

  size(plane) {
    const { across, down } = PLANES[plane];
    return [this.shape[across], this.shape[down]];
  }

  pixel(plane) {
    const { across, down } = PLANES[plane];
    return [this.spacing[across], this.spacing[down]];
  }

  // Column and row of a place (i, j, k) in the slices of a plane, and back (the third index stays open).
  toPixel(plane, place) {
    const { across, down, upwards } = PLANES[plane];
    return [place[across], upwards ? this.shape[down] - 1 - place[down] : place[down]];
  }

  fromPixel(plane, column, row) {
    const { across, down, upwards } = PLANES[plane];
    const place = [NaN, NaN, NaN];
    place[across] = column;
    place[down] = upwards ? this.shape[down] - 1 - row : row;
    return place;
  }

  // Greys and codes of one slice, row by row; black where the curve leaves the grid.
  slice(plane, offset) {
    const { through, upwards } = PLANES[plane];
    const [width, height] = this.size(plane);
    const strides = [1, this.shape[0], this.shape[0] * this.shape[1]];
    const { across, down } = PLANES[plane];
    const greys = new Uint8Array(width * height);
    const codes = new Uint8Array(width * height);
    for (let row = 0; row < height; row++) {
      const at = upwards ? height - 1 - row : row;
      const index = this.base(through, down === 2 ? at : this.middle[2]) + offset;
      if (index < 0 || index > this.shape[through] - 1) continue;
      const low = Math.floor(index);
      const share = index - low;
      const near = share ? strides[through] : 0;
      let from = low * strides[through] + at * strides[down];
      for (let to = row * width; to < (row + 1) * width; to++, from += strides[across]) {
        greys[to] = this.greys[from] * (1 - share) + this.greys[from + near] * share;
        codes[to] = this.codes[share < 0.5 ? from : from + near];
      }
    }
    return { width, height, greys, codes };
  }
}

// What each grey code looks like in a window: straight lines between the knots of the table.
function shades(table, window) {
  const shade = new Uint8ClampedArray(256);
  const low = window.center - window.width / 2;
  let knot = 0;
  for (let code = 0; code < 256; code++) {
    while (knot < table.codes.length - 2 && code > table.codes[knot + 1]) knot++;
    const [from, to] = [table.codes[knot], table.codes[knot + 1]];
    const value = table.values[knot] + ((code - from) / (to - from)) * (table.values[knot + 1] - table.values[knot]);
    shade[code] = (255 * (value - low)) / window.width;
  }
  return shade;
}
