// The focus is not lost: when what has it leaves the page, the next row of its list takes it, or else
// the view's heading, so that keyboard and screen reader go on where they were.

const LISTS = "tbody, ul, .cards";

/** What has the focus, and where it stands. */
let place = null;

document.addEventListener("focusin", ({ target }) => {
  const list = target.parentElement.closest(LISTS);
  const row = [...(list?.children ?? [])].findIndex((one) => one.contains(target));
  const like = [target.localName, ...target.classList].map((part) => CSS.escape(part)).join(".");
  place = { target, list, row, like };
});

// Somebody who clicks beside everything has put the focus away themselves. An element that is taken away
// may say that it loses the focus, too, and is gone a moment later.
document.addEventListener("focusout", ({ target }) => {
  setTimeout(() => {
    if (place?.target === target && target.isConnected) place = null;
  });
});

function next({ list, row, like }) {
  const rows = list?.isConnected ? list.children : [];
  const near = rows[row] ?? rows[row - 1];
  return near?.querySelector(like) ?? near?.querySelector("button, a, input");
}

/** The view's heading, or the dialog's first control where one is open. */
export function focusHeading() {
  document.querySelector("dialog[open] .dialog-body :is(input, button), dialog[open] button")?.focus();
  if (!document.querySelector("dialog[open]")) document.querySelector("h1")?.focus();
}

new MutationObserver(() => {
  if (!place || place.target.isConnected || document.activeElement !== document.body) return;
  const found = next(place);
  place = null;
  if (found) found.focus();
  else focusHeading();
}).observe(document.body, { childList: true, subtree: true });
