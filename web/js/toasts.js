// What has just happened, said for a moment where the eye is. It is a picture of what is said elsewhere: screen readers
// hear it, and a notice stays among the notices. So it takes neither the focus nor a click, and nothing moves for it.
import { html, store, useEffect, useStore } from "./lib.js";
import { say } from "./state.js";
import { Icon } from "./ui.js";
import { TONES } from "./words.js";

/** So long one is seen. */
const SEEN_MS = 8_000;

/** More at a time would hide the view. */
const MOST = 3;

const toasts = store([]);
let last = 0;

/** Shows a title and lines in the colour of a tone; with `once: "wide"` only where the window does not show it anyway. */
export function told(toast) {
  last += 1;
  const mine = { ...toast, key: last };
  toasts.set((old) => [...old, mine].slice(-MOST));
  setTimeout(() => toasts.set((old) => old.filter((one) => one !== mine)), SEEN_MS);
}

/** Says that something was done, to those who hear and to those who see. */
export function done(text) {
  say(text);
  told({ tone: "good", title: text, lines: [] });
}

/** They go with the person, too: nothing of one is shown to another. */
export function Toasts() {
  const all = useStore(toasts);
  useEffect(() => () => toasts.set([]), []);
  return html`<div class="toasts" aria-hidden="true">
    ${all.map(
      ({ key, tone, title, lines, once }) => html`<div key=${key} class=${`toast ${tone} ${once ?? ""}`}>
        <p class="toast-title"><${Icon} name=${TONES[tone]} />${title}</p>
        ${lines.map((line) => html`<p key=${line}>${line}</p>`)}
      </div>`,
    )}
  </div>`;
}
