// The page follows the service: what lies in #live is taken anew every few seconds, unless the reader has paused it.

const EVERY_MS = 5000;
const live = document.querySelector("#live");
const pause = document.querySelector("#pause");
const told = document.querySelector("#told");

async function follow() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer === null || !answer.ok || answer.redirected) {
    told.textContent = answer?.redirected ? "Signed out" : "The service does not answer";
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#live");
  told.textContent = "";
  if (fresh === null || fresh.innerHTML === live.innerHTML) return;
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = live.querySelector(".scroll")?.scrollLeft ?? 0;
  live.replaceChildren(...fresh.childNodes);
  const again = live.querySelector(".scroll");
  if (again !== null) again.scrollLeft = scrolled;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

const isPaused = () => pause.getAttribute("aria-pressed") === "true";
pause.hidden = false;
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!isPaused()));
  if (!isPaused()) follow();
});
setInterval(() => { if (!isPaused() && !document.hidden) follow(); }, EVERY_MS);
