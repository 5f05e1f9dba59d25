// A viewer: the linked pictures of one scene, its tools, mouse and keyboard.

const ZOOM_STEP = 1.25;
const LARGEST_ZOOM = 12;
const FILM_ZOOM = 3; // at least this much where a film shows a finding

class Viewer {
  constructor(element, scene, grid) {
    [this.element, this.scene, this.grid] = [element, scene, grid];
    this.offset = [0, 0, 0];
    this.zoom = 1;
    [this.overlays, this.points] = [true, true];
    this.structures = JSON.parse(element.dataset.structures);
    this.hidden = new Set();
    this.presets = JSON.parse(element.dataset.windows);
    this.markedColour = this.structures.find((one) => one.style === "strong")?.colour ?? WHITE;
    this.drag = element.querySelector("[data-drag]:checked").dataset.drag;
    this.isMoved = false;
    element.hidden = false;
    this.panes = [...element.querySelectorAll(".pane")].map((pane) => new Pane(this, pane));
    this.panes.forEach((pane) => this.listen(pane));
    this.connectTools();
    this.setWindow(this.presets[0]);
    this.panes.forEach((pane) => pane.cut());
    this.show();
  }

  // The voxel under the crosshair.
  get cursor() {
    const k = this.grid.base(2) + this.offset[2];
    return [this.grid.base(0, k) + this.offset[0], this.grid.base(1, k) + this.offset[1], k];
  }

  isShown(structure) {
    return !this.hidden.has(structure.name);
  }

  // Put the crosshair on a place (i, j, k); NaN keeps the slice of that axis.
  goTo(place) {
    const k = Number.isNaN(place[2]) ? this.cursor[2] : place[2];
    this.moveTo(place.map((index, axis) => (Number.isNaN(index) ? this.offset[axis] : index - this.grid.base(axis, k))));
  }

  // The same for a finding, which zoomed pictures take to their middle; a film, which is large, is zoomed to it.
  showFinding(place) {
    this.goTo(place);
    if (this.panes[0].plane === "film") this.zoom = Math.max(this.zoom, FILM_ZOOM);
    if (this.zoom > 1) this.panes.forEach((pane) => (pane.center = pane.mmOf(place)));
    this.show();
  }

  moveTo(offset) {
    const before = this.offset;
    this.isMoved = true;
    this.offset = offset.map((value, axis) => {
      const [first, last] = this.grid.range(axis);
      return Math.min(Math.max(Math.round(value), first), last);
    });
    this.panes.filter(({ axis }) => before[axis.through] !== this.offset[axis.through]).forEach((pane) => pane.cut());
    this.show();
  }

  scroll(pane, steps) {
    this.moveTo(this.offset.map((value, axis) => (axis === pane.axis.through ? value + steps : value)));
  }

  setWindow(window) {
    this.window = { ...window, width: Math.max(window.width, 1) };
    this.shade = shades(this.scene.table, this.window);
    this.panes.filter((pane) => pane.slice).forEach((pane) => pane.shade());
    this.show();
  }

  // Zoom about a place of a pane, or about the middle of each.
  zoomBy(factor, pane = null, about = null) {
    const zoom = Math.min(Math.max(this.zoom * factor, 1), LARGEST_ZOOM);
    const share = 1 - this.zoom / zoom;
    if (pane && about) pane.center = pane.center.map((mm, axis) => mm + (about[axis] - mm) * share);
    this.zoom = zoom;
    if (zoom === 1) this.panes.forEach((one) => (one.center = [...one.home]));
    this.show();
  }

  pan(pane, dx, dy) {
    const ratio = this.unitsPerPixel(pane);
    pane.center = [pane.center[0] - dx * ratio, pane.center[1] - dy * ratio];
    this.show();
  }

  unitsPerPixel(pane) {
    return (window.devicePixelRatio || 1) / pane.scale;
  }

  reset() {
    this.zoom = 1;
    this.panes.forEach((pane) => (pane.center = [...pane.home]));
    this.setWindow(this.presets[0]);
    this.moveTo([0, 0, 0]);
    this.isMoved = false;
  }

  toggleOverlays() {
    this.overlays = !this.overlays;
    this.element.querySelector("[data-overlays]").checked = this.overlays;
    this.show();
  }

  // Draw at the next frame, once however much has changed, and let the tools say what is shown.
  show() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.panes.forEach((pane) => pane.draw());
      this.tell();
    });
  }

  tell() {
    for (const { axis, slider, output } of this.panes.filter((pane) => pane.slider)) {
      const mm = this.offset[axis.through] * this.grid.spacing[axis.through];
      const end = axis.ends[mm > 0 ? 1 : 0];
      const middle = axis.through === 2 ? this.scene.origin : "middle";
      const text = Math.abs(mm) < 0.05 ? middle : `${Math.abs(mm).toFixed(1)} mm ${end}`;
      [slider.value, output.textContent] = [this.offset[axis.through], text];
      slider.setAttribute("aria-valuetext", text);
    }
    const { center, width } = this.window;
    for (const button of this.element.querySelectorAll("[data-window]")) {
      const preset = this.presets[button.dataset.window];
      button.setAttribute("aria-pressed", String(preset.center === center && preset.width === width));
    }
    for (const input of this.element.querySelectorAll("[data-set]")) {
      const value = Math.round(this.window[input.dataset.set]);
      input.value = value;
      input.setAttribute("aria-valuetext", `${value} ${this.scene.table.unit}`);
      input.parentElement.querySelector("output").textContent = String(value).replace("-", "−");
    }
  }

  connectTools() {
    const find = (selector) => this.element.querySelectorAll(selector);
    for (const { axis, slider } of this.panes.filter((pane) => pane.slider)) {
      [slider.min, slider.max] = this.grid.range(axis.through);
      slider.addEventListener("input", () => {
        this.moveTo(this.offset.map((value, n) => (n === axis.through ? Number(slider.value) : value)));
      });
    }
    for (const button of find("[data-window]")) {
      button.addEventListener("click", () => this.setWindow(this.presets[button.dataset.window]));
    }
    const { values } = this.scene.table;
    for (const input of find("[data-set]")) {
      [input.min, input.max] = input.dataset.set === "center" ? [values[0], values.at(-1)] : [1, values.at(-1) - values[0]];
      input.addEventListener("input", () => this.setWindow({ ...this.window, [input.dataset.set]: Number(input.value) }));
    }
    for (const box of find("[data-structure]")) {
      box.addEventListener("change", () => {
        this.hidden[box.checked ? "delete" : "add"](box.dataset.structure);
        this.show();
      });
    }
    find("[data-points]").forEach((box) => box.addEventListener("change", () => { this.points = box.checked; this.show(); }));
    find("[data-overlays]").forEach((box) => box.addEventListener("change", () => this.toggleOverlays()));
    find("[data-drag]").forEach((box) => box.addEventListener("change", () => { this.drag = box.dataset.drag; }));
    find("[data-place]").forEach((button) => button.addEventListener("click", () => this.showFinding(JSON.parse(button.dataset.place))));
    const actions = { in: () => this.zoomBy(ZOOM_STEP), out: () => this.zoomBy(1 / ZOOM_STEP), reset: () => this.reset() };
    find("[data-action]").forEach((button) => button.addEventListener("click", actions[button.dataset.action]));
  }

  listen(pane) {
    const { canvas } = pane;
    canvas.addEventListener("keydown", (event) => this.onKey(pane, event));
    canvas.addEventListener("wheel", (event) => this.onWheel(pane, event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.onPress(pane, event));
    canvas.addEventListener("pointermove", (event) => this.onDrag(pane, event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // A picture takes the wheel only once it was clicked, so that the page itself still scrolls over it.
  onWheel(pane, event) {
    if (document.activeElement !== pane.canvas) return;
    event.preventDefault();
    const steps = Math.sign(event.deltaY);
    const isZoom = event.ctrlKey || pane.plane === "film";
    if (isZoom) this.zoomBy(ZOOM_STEP ** -steps, pane, pane.mmOf(pane.placeAt(event)));
    else this.scroll(pane, -steps);
  }

  dragOf(event) {
    if (event.buttons === 2) return "window";
    if (event.buttons === 4 || event.shiftKey) return "move";
    return this.drag;
  }

  onPress(pane, event) {
    pane.canvas.focus({ preventScroll: true });
    pane.canvas.setPointerCapture(event.pointerId);
    if (this.dragOf(event) === "cross") this.goTo(pane.placeAt(event));
  }

  onDrag(pane, event) {
    if (!event.buttons) return;
    const kind = this.dragOf(event);
    if (kind === "cross") this.goTo(pane.placeAt(event));
    else if (kind === "move") this.pan(pane, event.movementX, event.movementY);
    else this.stretchWindow(event.movementX, -event.movementY);
  }

  // Change width and centre by steps that fit the width itself: fine ones in a narrow window.
  stretchWindow(wider, brighter) {
    const step = this.window.width / 200;
    this.setWindow({ center: this.window.center - brighter * step, width: this.window.width + wider * step });
  }

  onKey(pane, event) {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const far = 10 / this.grid.spacing[pane.axis.through];
    const isPan = event.shiftKey || pane.plane === "film"; // a film has no other slice
    const arrow = (dx, dy, steps) => () => (isPan ? this.pan(pane, dx, dy) : this.scroll(pane, steps));
    const keys = {
      ArrowUp: arrow(0, 20, 1),
      ArrowDown: arrow(0, -20, -1),
      ArrowLeft: arrow(20, 0, -1),
      ArrowRight: arrow(-20, 0, 1),
      PageUp: () => this.scroll(pane, far),
      PageDown: () => this.scroll(pane, -far),
      Home: () => this.moveTo([0, 0, 0]),
      "+": () => this.zoomBy(ZOOM_STEP),
      "=": () => this.zoomBy(ZOOM_STEP),
      "-": () => this.zoomBy(1 / ZOOM_STEP),
      0: () => this.reset(),
      o: () => this.toggleOverlays(),
      "[": () => this.stretchWindow(-20, 0),
      "]": () => this.stretchWindow(20, 0),
      ",": () => this.stretchWindow(0, -10),
      ".": () => this.stretchWindow(0, 10),
    };
    const preset = this.presets[Number(event.key) - 1];
    const act = preset ? () => this.setWindow(preset) : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
