// What others have shared with me and my groups: a count beside the menu's item, and the latest batches.
import { html, store, useEffect, useState, useStore } from "./lib.js";
import { get, send } from "./api.js";
import { shown, t, time } from "./i18n.js";
import { useListing } from "./listing.js";
import { live, me } from "./state.js";
import { Pill, Trouble } from "./ui.js";

/** How many entries I have not seen. */
const unseen = store(0);

/** So many entries are shown at first: the secrets below are what the view is for. */
const FIRST = 3;
const PAGE = 50;

/** The stream tells of my own jobs only, so what others share is looked for now and then. */
const LOOK_MS = 60_000;

async function look() {
  if (document.hidden) return;
  try {
    unseen.set((await get("/received", { limit: 1 })).unseen);
  } catch {
    // The next look may tell.
  }
}

/** The number beside the menu's item, which is a description of it and no part of its name. */
export function Unseen({ id }) {
  const person = useStore(me)?.id;
  const { news } = useStore(live);
  const count = useStore(unseen);
  useEffect(() => {
    unseen.set(0);
    if (person === undefined) return undefined;
    const again = setInterval(look, LOOK_MS);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(again);
      document.removeEventListener("visibilitychange", look);
    };
  }, [person]);
  useEffect(() => {
    if (person !== undefined) look();
  }, [person, news]);
  if (count === 0) return null;
  return html`<span class="count" aria-hidden="true">${count < 1_000 ? count : "999+"}</span>
    <span class="unseen" id=${id}>${t("received.unseen", { n: count })}</span>`;
}

/** The secrets of a batch, once it is opened. */
function Secrets({ id }) {
  const [open, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.target.open)}>
    <summary>${t("received.open")}</summary>
    ${open && html`<${Opened} id=${id} />`}
  </details>`;
}

function Opened({ id }) {
  const page = useListing(`/received/${id}/secrets`, [id]);
  if (page.problem) return html`<${Trouble} problem=${page.problem} again=${page.again} />`;
  if (page.items === null) return html`<p class="quiet">${t("app.loading")}</p>`;
  return html`<ul class="opened">
      ${page.items.map((one) => html`<li key=${one.id}>
        ${one.name ? html`<a href=${`#/secrets/${one.id}`}>${shown(one.name)}</a>` : t("received.gone", { id: String(one.id) })}
      </li>`)}
    </ul>
    ${page.next && html`<button type="button" onClick=${page.more}>${t("app.more")}</button>`}`;
}

function Entry({ item }) {
  const who = item.shared_by.name ?? t("received.somebody", { id: String(item.shared_by.id) });
  const group = item.to.name ?? t(`kind.${item.to.kind}`);
  const what = item.to.kind === "user" ? "received.what" : "received.what.group";
  return html`<li>
    <p>
      ${!item.seen && html`<${Pill} kind="good">${t("received.new")}<//> `}
      ${t(what, { who, n: item.secrets, group })}
      ${item.state !== "shared" && html` <${Pill} kind="off">${t(`received.${item.state}`)}<//>`}
    </p>
    ${item.note && html`<blockquote>${shown(item.note)}</blockquote>`}
    <p class="quiet">${t(`permission.${item.permission}`)} · ${time(item.at)}</p>
    <${Secrets} id=${item.id} />
  </li>`;
}

/** The latest batches, above the secrets themselves. To look at them is to have seen them. */
export function Received() {
  const [page, setPage] = useState({ items: [], next: null, problem: null });
  const { news } = useStore(live);
  const read = async (cursor) => {
    try {
      const found = await get("/received", { cursor, limit: cursor ? PAGE : FIRST });
      setPage((old) => ({ items: cursor ? [...old.items, ...found.items] : found.items, next: found.next_cursor, problem: null }));
      const [newest] = found.items;
      if (cursor || !newest || newest.seen) return;
      await send("POST", `/received/${newest.id}/seen`);
      unseen.set(0);
    } catch (problem) {
      setPage((old) => ({ ...old, problem }));
    }
  };
  useEffect(() => void read(null), [news]);
  // Where nothing was read yet, the list below says what is wrong.
  if (page.items.length === 0) return null;
  return html`<section class="received" aria-labelledby="received-title">
    <h2 id="received-title">${t("received.title")}</h2>
    <ul>
      ${page.items.map((item) => html`<${Entry} key=${item.id} item=${item} />`)}
    </ul>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${() => read(page.next)} />`}
    ${page.next && !page.problem && html`<button type="button" onClick=${() => read(page.next)}>${t("app.more")}</button>`}
  </section>`;
}
