// Two images of one size, left and right of a divider: as a whole, or pixel by pixel in tiles that load when they are visible.
// gradio provides `element` and `props`; viewer.py writes props.value.
const SIDE = 512, ZOOMS = [0, 1, 2, 4];
let shown = null, zoom = 0, centre = [0, 0], line = 0.5, drag = null, tiles = new Map();

function part(kind, name, ...inside) {
  const made = document.createElement(kind);
  made.className = name;
  made.append(...inside);
  return made;
}

const names = ["left", "right"].map(side => part("span", "name " + side));
const planes = ["left", "right"].map(side => part("div", "plane " + side));
const mark = part("div", "mark");
const stage = part("div", "stage", ...planes, mark, ...names);
stage.tabIndex = 0;
stage.setAttribute("role", "group");
const buttons = ZOOMS.map(factor => {
  const made = part("button", "", factor ? `${100 * factor} %` : "Whole");
  made.type = "button";
  made.title = factor ? `${factor} screen pixel${factor > 1 ? "s" : ""} per pixel of the result` : "The whole image";
  made.onclick = () => setZoom(factor);
  return made;
});
const slide = part("input", "");
Object.assign(slide, {type: "range", min: 0, max: 100, value: 50, ariaLabel: "Divider between left and right, %"});
slide.oninput = () => { line = slide.value / 100; draw(); };
const bar = part("div", "bar", ...buttons, slide);
const help = part("p", "help");
element.replaceChildren(part("div", "viewer", bar, stage, help));

// CSS pixels per pixel of the result; at 100 % this is one pixel of the screen
const unit = () => zoom ? zoom / devicePixelRatio : Math.min(stage.clientWidth / shown.width, stage.clientHeight / shown.height);

function setZoom(factor, at) {
  const before = unit();
  if (at) { // keep the point under the pointer in place
    const under = at.map((place, axis) => centre[axis] + place / before);
    zoom = factor;
    centre = under.map((place, axis) => place - at[axis] / unit());
  } else {
    if (!zoom && factor) centre = [...shown.start];
    zoom = factor;
  }
  draw();
}

function keepInside() {
  const size = [shown.width, shown.height], room = [stage.clientWidth, stage.clientHeight];
  centre = centre.map((place, axis) => {
    const half = room[axis] / 2 / unit();
    return 2 * half >= size[axis] ? size[axis] / 2 : Math.min(size[axis] - half, Math.max(half, place));
  });
}

function draw() {
  if (!shown || !stage.clientWidth) return;
  if (!zoom) stage.style.height = Math.min(0.7 * innerHeight, 640, stage.clientWidth * shown.height / shown.width) + "px";
  else stage.style.height = Math.min(0.7 * innerHeight, 640) + "px";
  keepInside();
  const scale = unit(), dots = devicePixelRatio;
  // rounded to whole pixels of the screen
  const corner = [stage.clientWidth, stage.clientHeight].map((room, axis) => Math.round((room / 2 - centre[axis] * scale) * dots) / dots);
  const wanted = new Map();
  for (const [number, side] of [shown.left, shown.right].entries()) {
    if (zoom) forVisibleTiles(corner, scale, (column, row) => wanted.set(`${number}/${side.crop}/${column}_${row}`, [number, side, column, row]));
    else wanted.set(`${number}/${side.crop}/whole`, [number, side]);
  }
  for (const [key, image] of tiles) if (!wanted.has(key)) { image.remove(); tiles.delete(key); }
  for (const [key, place] of wanted) if (!tiles.has(key)) tiles.set(key, load(...place));
  for (const [key, [, , column, row]] of wanted) position(tiles.get(key), corner, scale, column, row);
  const x = line * stage.clientWidth;
  planes[0].style.clipPath = `inset(0 ${stage.clientWidth - x}px 0 0)`;
  planes[1].style.clipPath = `inset(0 0 0 ${x}px)`;
  mark.style.left = x + "px";
  slide.value = 100 * line;
  stage.classList.toggle("near", zoom >= 1);
  buttons.forEach((button, number) => button.setAttribute("aria-pressed", ZOOMS[number] === zoom));
  help.textContent = zoom ? "Drag the image, or use the arrow keys; drag the divider to compare."
    : `${shown.width.toLocaleString("en")} × ${shown.height.toLocaleString("en")} pixels, downscaled to fit; choose 100 % to see every pixel.`;
}

function forVisibleTiles(corner, scale, take) {
  const [columns, rows] = [shown.width, shown.height].map((size, axis) => {
    const room = axis ? stage.clientHeight : stage.clientWidth;
    return [Math.max(0, Math.floor(-corner[axis] / scale / SIDE)), Math.min(Math.ceil(size / SIDE), Math.ceil((room - corner[axis]) / scale / SIDE))];
  });
  for (let row = rows[0]; row < rows[1]; row++) for (let column = columns[0]; column < columns[1]; column++) take(column, row);
}

function load(number, side, column, row) {
  const image = new Image();
  image.draggable = false;
  image.alt = "";
  image.src = column === undefined ? `crop/${side.crop}/whole` : `crop/${side.crop}/${shown.width}x${shown.height}/${column}_${row}`;
  planes[number].append(image);
  return image;
}

function position(image, corner, scale, column, row) {
  const whole = column === undefined, [x, y] = whole ? [0, 0] : [column * SIDE, row * SIDE];
  const [width, height] = whole ? [shown.width, shown.height] : [Math.min(SIDE, shown.width - x), Math.min(SIDE, shown.height - y)];
  Object.assign(image.style, {left: corner[0] + x * scale + "px", top: corner[1] + y * scale + "px", width: width * scale + "px", height: height * scale + "px"});
}

stage.onpointerdown = event => {
  const x = event.clientX - stage.getBoundingClientRect().left;
  const grip = Math.abs(x - line * stage.clientWidth) < 22;
  drag = {line: grip || !zoom, at: [event.clientX, event.clientY], from: [...centre]};
  stage.setPointerCapture(event.pointerId);
  if (drag.line && !grip) move(event);
};
const move = event => {
  if (!drag) return;
  if (drag.line) line = Math.min(1, Math.max(0, (event.clientX - stage.getBoundingClientRect().left) / stage.clientWidth));
  else centre = [event.clientX, event.clientY].map((place, axis) => drag.from[axis] - (place - drag.at[axis]) / unit());
  draw();
};
stage.onpointermove = move;
stage.onpointerup = stage.onpointercancel = () => { drag = null; };
const middle = event => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
};
stage.ondblclick = event => setZoom(zoom ? 0 : 1, middle(event));
stage.addEventListener("wheel", event => {
  if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
  event.preventDefault();
  const next = ZOOMS[ZOOMS.indexOf(zoom) - Math.sign(event.deltaY)];
  if (next !== undefined) setZoom(next, middle(event));
}, {passive: false});
stage.onkeydown = event => {
  const [x, y] = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key] ?? [0, 0];
  const step = event.shiftKey ? stage.clientWidth / 2 : 48;
  const next = ZOOMS[ZOOMS.indexOf(zoom) + ({"+": 1, "-": -1}[event.key] ?? 9)];
  if (next !== undefined) setZoom(next);
  else if (zoom && (x || y)) centre = [centre[0] + x * step / unit(), centre[1] + y * step / unit()];
  else if (x) line = Math.min(1, Math.max(0, line + x / 50));
  else return;
  event.preventDefault();
  draw();
};

function show() {
  const next = props.value ? JSON.parse(props.value) : null;
  if (!next) return;
  if (next.photo !== shown?.photo) { centre = [...next.start]; line = 0.5; }
  tiles.forEach(image => image.remove());
  tiles = new Map();
  shown = next;
  stage.ariaLabel = `${shown.photo}: ${shown.left.name} and ${shown.right.name}`;
  names[0].textContent = shown.left.name;
  names[1].textContent = shown.right.name;
  draw();
}
watch("value", show);
new ResizeObserver(draw).observe(element);
show();
