// What the page shows comes from /openapi.json; what is typed or chosen goes to this service alone.

const $ = (id) => document.getElementById(id);
let key = "";

const element = (tag, text = "", className = "") => {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};
const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});
// Never rounded up to a certainty.
const percent = (share) => (share > 0.999 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  if (response.ok) return response;
  let problem = { error: `${response.status} ${response.statusText}`, code: "" };
  try {
    problem = await response.json();
  } catch {
    // a proxy's page: its status has to do
  }
  throw Object.assign(new Error(problem.error), { status: response.status, code: problem.code });
}

function complain(error) {
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}

function row(table, name, value) {
  if (value === null || value === undefined || value === "") return;
  const line = table.insertRow();
  line.append(Object.assign(element("th", name), { scope: "row" }), element("td", value));
}

function card(model) {
  const made = element("div", "", "card");
  const title = element("h3", `${model.model} ${model.version}`);
  const state = model.state === "ready" && model.current ? "answers" : model.state;
  title.append(element("span", state, model.state === "failed" ? "badge failed" : "badge"));
  made.append(title);
  if (model.description) made.append(element("p", model.description));
  const table = document.createElement("table");
  const more = model.classes > model.labels.length ? `, … (${model.classes} in all)` : "";
  row(table, "Labels", model.labels.join(", ") + more);
  row(table, "Input", `${model.input.join(" × ")} pixels, ${model.precision}`);
  row(table, "Runs on", model.runtime);
  row(table, "Certificate", model.certificate);
  if (model.top1 !== null)
    row(table, "Top-1", `${percent(model.top1)} of ${model.evaluation_images} photos, as its file says`);
  row(table, "Confidence", model.calibrated ? "calibrated; knows what it has never seen" : "not calibrated");
  row(table, "License", model.license);
  row(table, "From", model.origin_url);
  row(table, "SHA-256", model.sha256);
  made.append(table);
  return made;
}

function lines(models) {
  const first = models.find((model) => model.current) ?? models[0];
  const at = location.origin;
  const auth = key ? ` -H "Authorization: Bearer $KEY"` : "";
  const path = models.filter((model) => model.current).length > 1 ? `/v1/models/${first.model}/classify` : "/classify";
  return [
    `curl${auth} --data-binary @photo.jpg '${at}${path}?top=3'`,
    `curl${auth} -F file=@one.jpg -F file=@two.jpg ${at}${path}`,
    `curl${auth} ${at}/healthz/ready`,
  ].join("\n");
}

function showRoutes(paths) {
  for (const [path, operations] of Object.entries(paths)) {
    const plain = path.replace("/versions/{version}", "");
    if (plain !== path && plain in paths) continue; // shown with the other
    const versioned = path.replace("{model}", "{model}/versions/{version}");
    const shown = versioned !== path && versioned in paths ? path.replace("{model}", "{model}[/versions/{version}]") : path;
    for (const [method, operation] of Object.entries(operations)) {
      const term = document.createElement("dt");
      term.append(element("b", method.toUpperCase()), element("code", shown));
      $("routes").append(term, element("dd", operation.summary));
    }
  }
}

let models = [];
const chosen = () => models.find((model) => model.model === $("model").value && model.current);

function choose() {
  const model = chosen();
  $("explain-field").hidden = !model?.explains;
  $("example").hidden = !model?.example;
}

async function load() {
  let description;
  try {
    description = await (await ask("/openapi.json")).json();
  } catch (error) {
    if (error.status === 401) $("key-form").hidden = false;
    if (error.status !== 401 || key) complain(error);
    return;
  }
  $("problem").hidden = true;
  $("key-form").hidden = true;
  document.title = $("title").textContent = description.info.title;
  models = description["x-edgeclf-models"];
  $("models").replaceChildren(...models.map(card));
  if (!models.length) $("models").append(element("p", "None is served yet.", "faint"));
  const current = models.filter((model) => model.current);
  $("model").replaceChildren(...current.map((model) => element("option", model.model)));
  choose();
  $("routes").replaceChildren();
  showRoutes(description.paths);
  if (models.length) $("lines").textContent = lines(models);
  $("models-section").hidden = $("routes-section").hidden = false;
  $("try-section").hidden = $("lines-section").hidden = !current.length;
}

// Viridis at tenths of its way, as edgeclf explain draws it.
const COLOURS = ["440154", "482575", "414487", "345f8d", "2a788e", "21908c", "22a884", "43bf71", "7ad151", "bcdf27", "fde725"]
  .map((colour) => [0, 2, 4].map((at) => parseInt(colour.slice(at, at + 2), 16)));

function colour(share) {
  const place = share * (COLOURS.length - 1);
  const before = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[before].map((value, i) => value + (COLOURS[before + 1][i] - value) * (place - before));
}

async function drawMap(explanation) {
  const canvas = $("map");
  canvas.hidden = !explanation;
  if (!explanation) return;
  const bytes = Uint8Array.from(atob(explanation.map), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  [canvas.width, canvas.height] = explanation.size;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < image.data.length; i += 4) {
    image.data.set([...colour(image.data[i] / 255), 140], i);
  }
  context.putImageData(image, 0, 0);
}

let shown = "";

async function classify(picture) {
  $("send").disabled = $("example").disabled = true;
  $("problem").hidden = true;
  try {
    const explain = !$("explain-field").hidden && $("explain").checked ? "&explain=true" : "";
    const path = `/v1/models/${encodeURIComponent($("model").value)}/classify?top=5${explain}`;
    const response = await ask(path, { method: "POST", body: picture, headers: { "Content-Type": picture.type || "application/octet-stream" } });
    const answer = await response.json();
    if (shown) URL.revokeObjectURL(shown);
    $("preview").src = shown = URL.createObjectURL(picture);
    $("label").textContent = answer.label;
    $("scores").replaceChildren(...answer.top.map((score) => {
      const line = document.createElement("li");
      line.style.backgroundImage = "linear-gradient(var(--bar), var(--bar))";
      line.style.backgroundRepeat = "no-repeat";
      line.style.backgroundSize = `${100 * score.probability}% 100%`;
      line.append(element("span", score.label), element("span", percent(score.probability)));
      return line;
    }));
    const notes = [];
    if (answer.unknown) notes.push("The model has never seen anything like this picture.");
    if (answer.confidence !== null) notes.push(`Confidence ${percent(answer.confidence)}.`);
    notes.push(`${answer.timing.total_ms.toFixed(1)} ms here.`);
    if (answer.explanation) notes.push(`Bright: what speaks for ${answer.explanation.label}.`);
    $("notes").textContent = notes.join(" ");
    await drawMap(answer.explanation);
    if (answer.explanation) answer.explanation.map = `${answer.explanation.map.slice(0, 24)}…`;
    $("json").textContent = JSON.stringify(answer, null, 2);
    $("answer").hidden = false;
  } catch (error) {
    complain(error);
  } finally {
    $("send").disabled = $("example").disabled = false;
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  load();
});
$("model").addEventListener("change", choose);
$("try").addEventListener("submit", (event) => {
  event.preventDefault();
  const [picture] = $("file").files;
  if (picture) classify(picture);
  else complain(new Error("Choose a picture first, or take the certificate's photo."));
});
$("example").addEventListener("click", async () => {
  try {
    const response = await ask(`/v1/models/${encodeURIComponent($("model").value)}/example`);
    await classify(await response.blob());
  } catch (error) {
    complain(error);
  }
});
load();
