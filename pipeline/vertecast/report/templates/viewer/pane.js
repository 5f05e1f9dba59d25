// One picture of a viewer: a slice with what was found in it, drawn to a canvas.

const FONT = "600 13px system-ui, sans-serif";
const WHITE = "#ffffff";
const SCALE_BARS_MM = [100, 50, 20, 10, 5];

class Pane {
  constructor(viewer, element) {
    [this.viewer, this.plane] = [viewer, element.dataset.plane];
    this.canvas = element.querySelector("canvas");
    this.slider = element.querySelector("input[type=range]");
    this.output = element.querySelector("output");
    this.axis = PLANES[this.plane];
    [this.columns, this.rows] = viewer.grid.size(this.plane);
    this.pixel = viewer.grid.pixel(this.plane);
    this.home = [(this.columns * this.pixel[0]) / 2, (this.rows * this.pixel[1]) / 2];
    this.center = [...this.home];
    element.style.setProperty("--ratio", (this.columns * this.pixel[0]) / (this.rows * this.pixel[1]));
    this.picture = document.createElement("canvas");
    [this.picture.width, this.picture.height] = [this.columns, this.rows];
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  // Device pixels of a millimetre, and the transform from columns and rows to device pixels.
  get scale() {
    const { width, height } = this.canvas;
    return this.viewer.zoom * Math.min(width / (this.columns * this.pixel[0]), height / (this.rows * this.pixel[1]));
  }

  get transform() {
    const [sx, sy] = this.pixel.map((size) => size * this.scale);
    const [cx, cy] = this.center.map((mm) => mm * this.scale);
    return new DOMMatrix([sx, 0, 0, sy, this.canvas.width / 2 - cx + sx / 2, this.canvas.height / 2 - cy + sy / 2]);
  }

  // Voxel place under a point of the screen, with the index that is cut through still open.
  placeAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const point = new DOMPoint((event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
    const { x, y } = this.transform.inverse().transformPoint(point);
    return this.viewer.grid.fromPixel(this.plane, x, y);
  }

  // Where a place lies, in mm from the upper left corner of the picture.
  mmOf(place) {
    return this.viewer.grid.toPixel(this.plane, place).map((index, axis) => (index + 0.5) * this.pixel[axis]);
  }

  // Cut the slice anew and trace what it holds.
  cut() {
    const { grid, scene, structures } = this.viewer;
    const slice = grid.slice(this.plane, this.viewer.offset[this.axis.through]);
    this.slice = slice;
    this.paths = structures.flatMap((structure) => {
      if (structure.name.startsWith("body")) {
        return scene.bodies
          .filter((body) => body.marked === (structure.style === "strong"))
          .map((body) => ({ structure, body, path: pathOf(this.bodyLines(body)) }));
      }
      const [first, last] = structure.codes;
      return [{ structure, path: pathOf(outlines(slice, truths((code) => code >= first && code <= last))) }];
    });
    this.shade();
  }

  bodyLines(body) {
    if (this.plane !== "film") return outlines(this.slice, truths((code) => body.codes.includes(code)));
    return body.plates.length ? [[...body.plates[0], ...[...body.plates[1]].reverse()]] : [];
  }

  // Grey values of the slice in the viewer's window.
  shade() {
    const context = this.picture.getContext("2d");
    const image = context.createImageData(this.columns, this.rows);
    const pixels = new Uint32Array(image.data.buffer);
    const { shade } = this.viewer;
    for (let n = 0; n < pixels.length; n++) pixels[n] = (0xff000000 | (shade[this.slice.greys[n]] * 0x010101)) >>> 0;
    context.putImageData(image, 0, 0);
  }

  draw() {
    if (!this.slice) return;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    [this.canvas.width, this.canvas.height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    const context = this.canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const { transform } = this;
    context.setTransform(transform);
    context.drawImage(this.picture, -0.5, -0.5);
    context.resetTransform();
    this.unit = ratio;
    if (this.viewer.overlays) {
      for (const one of this.paths) if (this.viewer.isShown(one.structure)) this.drawPath(context, transform, one);
      if (this.viewer.points) this.drawPoints(context, transform);
      this.drawNames(context, transform);
    }
    if (this.viewer.isMoved) this.drawCross(context, transform);
    this.drawFrame(context);
  }

  drawPath(context, transform, { structure, body, path }) {
    const { style, colour } = structure;
    const placed = new Path2D();
    placed.addPath(path, transform);
    const { own } = this.viewer.scene;
    const isOther = body && own.length && !own.includes(body.codes[0]);
    context.save();
    context.strokeStyle = context.fillStyle = colour;
    context.globalAlpha = isOther ? 0.55 : 1;
    context.lineWidth = { strong: 2.2, dots: 1.6 }[style] * this.unit || 1.3 * this.unit;
    if (style === "dots") context.setLineDash([1.5 * this.unit, 3 * this.unit]);
    if (style === "hatch") context.setLineDash([5 * this.unit, 3 * this.unit]);
    context.stroke(placed);
    if (style === "fill" || style === "hatch") {
      context.globalAlpha = style === "fill" ? 0.4 : 0.75;
      if (style === "hatch") context.fillStyle = stripes(context, colour, this.unit);
      context.fill(placed, "evenodd");
    }
    context.restore();
  }

  // Endplates through the points that lie in this slice, the heights between them, and single points beside them.
  drawPoints(context, transform) {
    const { grid, scene, offset } = this.viewer;
    const { through } = this.axis;
    const isNear = (place) =>
      Math.abs(place[through] - grid.base(through, place[2]) - offset[through]) * grid.spacing[through] <= scene.reach;
    context.save();
    context.strokeStyle = context.fillStyle = WHITE;
    context.lineWidth = 1.2 * this.unit;
    for (const body of scene.bodies) {
      const plates = body.plates.map((plate) => plate.map((place) => this.onScreen(transform, place)));
      const isWhole = body.plates.length > 0 && body.plates.flat().every(isNear) && this.plane !== "coronal";
      if (isWhole) plates.forEach((plate) => polyline(context, plate));
      if (isWhole && body.heights.length) this.drawHeights(context, plates, body.heights);
      body.plates.flat().forEach((place, n) => {
        if (isNear(place)) dot(context, plates.flat()[n], 2 * this.unit);
      });
    }
    context.restore();
  }

  drawHeights(context, [superior, inferior], heights) {
    context.save();
    context.lineWidth = this.unit;
    context.setLineDash([2 * this.unit, 3 * this.unit]);
    superior.forEach((from, n) => polyline(context, [from, inferior[n]]));
    context.restore();
    heights.forEach((text, n) => {
      const [x, y] = [0, 1].map((axis) => (superior[n][axis] + inferior[n][axis]) / 2);
      this.write(context, text, x, y, "center");
    });
  }

  onScreen(transform, place) {
    const [column, row] = this.viewer.grid.toPixel(this.plane, place);
    const { x, y } = transform.transformPoint(new DOMPoint(column, row));
    return [x, y];
  }

  // Levels at the left edge, where they hide nothing; on films in the middle of their bodies.
  drawNames(context, transform) {
    if (this.plane === "axial") return;
    for (const body of this.viewer.scene.bodies) {
      const [column, row] = this.onScreen(transform, body.center);
      if (row < 0 || row > this.canvas.height) continue;
      const colour = body.marked ? this.viewer.markedColour : WHITE;
      const line = 15 * this.unit;
      const [x, align] = this.plane === "film" ? [column, "center"] : [8 * this.unit, "left"];
      // At the upper end the name stands alone, below the letter of the side.
      const isHigh = this.plane !== "film" && row < 3 * line;
      const note = isHigh ? "" : body.note;
      const y = isHigh ? Math.max(row, 2 * line) : row;
      this.write(context, body.name, x, y - (note ? line / 2 : 0), align, colour);
      if (note) this.write(context, note, x, y + line / 2, align, colour);
    }
  }

  drawCross(context, transform) {
    const [x, y] = this.onScreen(transform, this.viewer.cursor);
    const gap = 14 * this.unit;
    context.save();
    context.strokeStyle = "rgba(255, 255, 255, 0.45)";
    context.lineWidth = this.unit;
    polyline(context, [[0, y], [x - gap, y]]);
    polyline(context, [[x + gap, y], [this.canvas.width, y]]);
    polyline(context, [[x, 0], [x, y - gap]]);
    polyline(context, [[x, y + gap], [x, this.canvas.height]]);
    context.restore();
  }

  // Letters of the sides, and a scale bar where a pixel has a size.
  drawFrame(context) {
    const { width, height } = this.canvas;
    const pad = 8 * this.unit;
    this.write(context, this.axis.sides[0], pad, 14 * this.unit, "left");
    this.write(context, this.axis.sides[1], width - pad, 14 * this.unit, "right");
    if (this.plane === "film") return;
    const length = SCALE_BARS_MM.find((mm) => mm * this.scale < width * 0.4) || SCALE_BARS_MM.at(-1);
    const y = height - 10 * this.unit;
    context.save();
    context.strokeStyle = WHITE;
    context.lineWidth = 2 * this.unit;
    polyline(context, [[width - pad - length * this.scale, y], [width - pad, y]]);
    context.restore();
    this.write(context, `${length} mm`, width - pad, y - 10 * this.unit, "right");
  }

  write(context, text, x, y, align, colour = WHITE) {
    context.save();
    context.font = FONT.replace("13px", `${13 * this.unit}px`);
    [context.textAlign, context.textBaseline, context.lineJoin] = [align, "middle", "round"];
    context.strokeStyle = "rgba(0, 0, 0, 0.85)";
    context.lineWidth = 3 * this.unit;
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
    context.restore();
  }
}

const truths = (isInside) => Array.from({ length: 256 }, (_, code) => code > 0 && isInside(code));

function polyline(context, points) {
  context.beginPath();
  points.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function dot(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

// Slanting stripes: leaked cement is told from cement without its colour.
function stripes(context, colour, unit) {
  const tile = document.createElement("canvas");
  const size = Math.round(6 * unit);
  [tile.width, tile.height] = [size, size];
  const strokes = tile.getContext("2d");
  strokes.strokeStyle = colour;
  strokes.lineWidth = 2 * unit;
  for (const shift of [-size, 0, size]) polyline(strokes, [[shift, size], [shift + size, 0]]);
  return context.createPattern(tile, "repeat");
}
