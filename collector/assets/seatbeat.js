// Tells a page that something has happened, and where keys lead. Each page works without it: it is then as of when it
// was loaded.
(() => {
  "use strict";

  // Followed only where it is seen: browsers have six connections for all pages of a place.
  let source = null;
  const tell = () => document.body.dispatchEvent(new CustomEvent("seatbeat:changed"));
  const follow = () => {
    const address = document.body.dataset.live;
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source && address) {
      source = new EventSource(address);
      source.addEventListener("changed", tell);
      source.addEventListener("ended", () => location.reload());
      source.addEventListener("open", () => document.body.classList.add("is-live"));
      source.addEventListener("error", () => document.body.classList.remove("is-live"));
    }
  };
  document.addEventListener("visibilitychange", () => {
    follow();
    if (!document.hidden) tell();
  });
  follow();

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = document.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "Copied";
  });

  // What went wrong is read out, and stands where it is seen.
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "problem" && event.target.firstElementChild) event.target.focus();
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, requestConfig } = event.detail;
    if (requestConfig.verb !== "get" || !requestConfig.headers["x-seatbeat-by-itself"]) {
      document.getElementById("problem")?.replaceChildren();
    } else if (elt.querySelector("details[open], input:focus, select:focus, textarea:focus")) {
      // Somebody reads or types there: what is new comes with the next news.
      event.preventDefault();
    }
  });
})();
