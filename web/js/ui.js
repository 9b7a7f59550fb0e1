// Small parts that every view uses.
import { html, store, useEffect, useId, useLayoutEffect, useRef, useStore } from "./lib.js";
import { number, problemText, shown, t } from "./i18n.js";
import { live, spoken } from "./state.js";

const PATHS = {
  grid: "M3 3h4v4H3zM10 3h4v4h-4zM17 3h4v4h-4zM3 10h4v4H3zM10 10h4v4h-4zM17 10h4v4h-4zM3 17h4v4H3zM10 17h4v4h-4zM17 17h4v4h-4z",
  close: "M6 6l12 12M18 6L6 18",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v6M14 11v6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  share: "M18 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM6 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM18 22a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8.6 10.5l6.8-4M8.6 13.5l6.8 4",
  key: "M15 14a5 5 0 1 0-4.6-3L3 18v3h4v-3h3v-3l1.6-1.6M16.5 7.5h.01",
  inbox: "M3 13l3-9h12l3 9v7H3zM3 13h5l2 3h4l2-3h5",
  list: "M8 6h13M8 12h13M8 18h13M3 6h.01M3 12h.01M3 18h.01",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c0-4 4-6 8-6s8 2 8 6",
  user_group: "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2 20c0-4 3-6 7-6s7 2 7 6M17 11a3 3 0 1 0-1-6M22 19c0-3-2-5-5-5",
  personal_group: "M12 3l8 4v5c0 5-4 8-8 9-4-1-8-4-8-9V7zM12 12a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM9 16c0-2 1-3 3-3s3 1 3 3",
  up: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  back: "M15 6l-6 6 6 6",
  next: "M9 6l6 6-6 6",
  light: "M12 17a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM12 1v2M12 21v2M4 4l2 2M18 18l2 2M1 12h2M21 12h2M4 20l2-2M18 6l2-2",
  dark: "M20 14a8 8 0 1 1-10-10 7 7 0 0 0 10 10z",
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  check: "M4 12l5 5L20 6",
  same: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8 12h8",
  alert: "M12 3L2 20h20zM12 10v4M12 17h.01",
  cross: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zM8 8l8 8M16 8l-8 8",
};

export const Icon = ({ name }) =>
  html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;

/** A button that is an icon; `label` is its name and its tooltip. */
export const IconButton = ({ icon, label, ...rest }) =>
  html`<button type="button" class="icon-button" aria-label=${label} title=${label} ...${rest}><${Icon} name=${icon} /></button>`;

export const Pill = ({ kind, children }) => html`<span class=${`pill ${kind}`}>${children}</span>`;

/** A URL that breaks between its parts where it must. */
export const Address = ({ url }) => shown(url).split(/(?<=\/)/).map((part) => html`${part}<wbr />`);

/** What went wrong, with a way to try again where that can help. */
export const Trouble = ({ problem, again }) =>
  html`<div class="trouble" role="alert">
    <${Icon} name="alert" />
    <p>${problemText(problem)}</p>
    ${again && !problem.hopeless && html`<button type="button" onClick=${again}>${t("app.retry")}</button>`}
  </div>`;

/** Where there is nothing: what that means, and what to do. */
export const Empty = ({ title, help, children }) =>
  html`<div class="empty"><p class="empty-title">${title}</p>${help && html`<p>${help}</p>`}${children}</div>`;

/** What is not there, or not for this person: never a dead end. */
export const Missing = ({ title, help }) =>
  html`<${Heading}>${title}<//><${Empty} title=${help}><${ToSecrets} /><//>`;

export const ToSecrets = () => html`<a class="button" href="#/secrets">${t("app.toSecrets")}</a>`;

/** Where a screen reader hears what is said from now on. */
export function Spoken() {
  const before = useRef(spoken.get());
  const text = useStore(spoken);
  return html`<p class="unseen" role="status">${text === before.current ? "" : text}</p>`;
}

/** What the view is called; the tab's title has it, with how many notices wait. */
const viewTitle = store("");

export function TabTitle() {
  const view = useStore(viewTitle);
  const { notices } = useStore(live);
  useEffect(() => {
    const waiting = notices.length > 0 ? `(${number(notices.length)}) ` : "";
    if (view) document.title = `${waiting}${view} · MySafe`;
  });
  return null;
}

/** A view's heading. It takes the focus when the view was gone to, so that a screen reader begins there. */
export function Heading({ children }) {
  const heading = useRef();
  useEffect(() => {
    viewTitle.set(heading.current.textContent);
  });
  useEffect(() => {
    if (Heading.goneTo) heading.current.focus();
    Heading.goneTo = false;
  }, []);
  return html`<h1 ref=${heading} tabindex="-1">${children}</h1>`;
}

/**
 * A dialog: the browser keeps the focus in it and gives it back. `onClose` is called for Escape; the
 * parent takes the dialog away.
 */
export function Dialog({ title, onClose, children, actions, className = "", onSubmit }) {
  const dialog = useRef();
  const id = useId();
  useLayoutEffect(() => {
    const element = dialog.current;
    element.showModal();
    element.querySelector("[data-autofocus]")?.focus();
    return () => element.close();
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog ref=${dialog} class=${className} aria-labelledby=${id} onCancel=${cancel}>
    <form method="dialog" onSubmit=${submit} novalidate>
      <header>
        <h2 id=${id}>${title}</h2>
        <${IconButton} icon="close" label=${t("app.close")} onClick=${onClose} />
      </header>
      <div class="dialog-body">${children}</div>
      <${Spoken} />
      <footer>${actions}</footer>
    </form>
  </dialog>`;
}

/** Yes or no; where yes takes something away, no is what Enter does. */
export const Confirm = ({ title, children, onYes, onNo, danger }) =>
  html`<${Dialog}
    title=${title}
    className="confirm"
    onClose=${onNo}
    onSubmit=${onYes}
    actions=${html`<button type="button" data-autofocus=${danger ? "" : null} onClick=${onNo}>${t("app.no")}</button>
      <button type="submit" class=${danger ? "danger" : "primary"} data-autofocus=${danger ? null : ""}>${t("app.yes")}</button>`}
  >
    <p>${children}</p>
  <//>`;
