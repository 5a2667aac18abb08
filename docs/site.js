// What scrolls within a page can be reached by keys: a browser scrolls what has the focus.
const BOXES = ".md-typeset pre > code, .md-typeset__scrollwrap, .md-typeset table, .md-typeset .output";
function reachable() {
  for (const box of document.querySelectorAll(BOXES)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", () => new ResizeObserver(reachable).observe(document.body));
