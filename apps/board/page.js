"use strict";
const $ = (id) => document.getElementById(id);
let about = null;
let shown = null;

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

/** What the service says when it refuses. */
async function told(answer) {
  const isJson = answer.headers.get("Content-Type") === "application/json";
  return isJson ? (await answer.json()).error : `The board answers ${answer.status} ${answer.statusText}.`;
}

async function start() {
  const answer = await fetch("/about");
  if (!answer.ok) {
    say(await told(answer), true);
    return;
  }
  about = await answer.json();
  for (const name of about.models) {
    const option = document.createElement("option");
    option.textContent = name;
    option.selected = name === about.first;
    $("model").append(option);
  }
  $("limits").textContent = `up to ${about.max_mpx} megapixels and ${about.max_upload_mb} MB`;
}

async function enlarge(file) {
  if (file.size > about.max_upload_mb * 1e6) {
    say(`The photo has ${(file.size / 1e6).toFixed(1)} MB; ${about.max_upload_mb} MB are allowed.`, true);
    return;
  }
  say("Enlarging ...");
  $("result").hidden = true;
  const [model, format] = [$("model").value, $("format").value];
  const asked = new URLSearchParams({ model, format });
  const answer = await fetch(`/upscale?${asked}`, { method: "POST", body: file });
  if (!answer.ok) {
    say(await told(answer), true);
    return;
  }
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(await answer.blob());
  $("image").src = shown;
  $("save").href = shown;
  $("save").download = `${file.name.replace(/\.[^.]*$/, "")}_x${about.scales[model]}.${format}`;
  const seconds = Number(answer.headers.get("X-Edgesr-Seconds")).toFixed(1);
  $("facts").textContent = `${seconds} s, ${answer.headers.get("X-Edgesr-Tiles")} tiles, ${decodeURIComponent(answer.headers.get("X-Edgesr-Runtime"))}`;
  $("result").hidden = false;
  say("");
}

function take(files) {
  if (files.length && about) enlarge(files[0]).catch((error) => say(String(error), true));
}

$("file").addEventListener("change", () => {
  take([...$("file").files]);
  $("file").value = ""; // so that the same photo can be chosen again, for another model
});
for (const event of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(event, (happened) => {
    happened.preventDefault();
    document.querySelector(".drop").classList.toggle("over", event === "dragover");
    if (event === "drop") take(happened.dataTransfer.files);
  });
}
start().catch((error) => say(String(error), true));
