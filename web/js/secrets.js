// The list of API secrets: searched, filtered, sorted, paged, and ticked.
import { html, oneAtATime, useEffect, useMemo, useRef, useState, useStore } from "./lib.js";
import { get } from "./api.js";
import { shown, t } from "./i18n.js";
import { whoOf } from "./words.js";
import { Received } from "./received.js";
import { live, me, say, select, selecting, selection, unselect } from "./state.js";
import { Address, Empty, Heading, Icon, IconButton, Pill, Trouble } from "./ui.js";

const PAGE = 50;

/** The list that was looked at last, where the way back from a secret leads. */
export let lastList = "secrets";

/** What was looked for stays while the person is elsewhere on the page; by person and list. */
const kept = new Map();
const FRESH = { search: "", tag: "", shared: "", sort: "name", cursors: [null] };

/** The parameters that say which secrets, whatever their order and page. */
const filterOf = ({ search, tag, shared }, owner) => ({ search, tag, shared, owner });

function useSecrets(asked, owner) {
  const [found, setFound] = useState({ for: null, items: null, next: null, problem: null });
  const [again, setAgain] = useState(0);
  const run = useRef(null);
  run.current ??= oneAtATime();
  const { news } = useStore(live);
  useEffect(() => {
    run.current(async (isLatest) => {
      try {
        const cursor = asked.cursors.at(-1);
        const page = await get("/secrets", { ...filterOf(asked, owner), sort: asked.sort, cursor, limit: PAGE });
        if (isLatest()) setFound({ for: asked, items: page.items, next: page.next_cursor, problem: null });
      } catch (problem) {
        if (isLatest()) setFound((old) => ({ ...old, problem }));
      }
    });
    // A job that has ended changes what is shared.
  }, [asked, owner, again, news]);
  return { ...found, retry: () => setAgain((n) => n + 1) };
}

export function Secrets({ owner }) {
  const place = `${me.get().id} ${owner ?? "all"}`;
  const [asked, setAsked] = useState(kept.get(place) ?? FRESH);
  useEffect(() => {
    kept.set(place, asked);
  }, [asked]);
  useEffect(() => {
    lastList = owner ? "shared" : "secrets";
  }, [owner]);
  const change = (part) => setAsked((old) => ({ ...old, cursors: [null], ...part }));
  const found = useSecrets(asked, owner);
  const title = t(owner ? "nav.shared" : "nav.secrets");
  const filtered = asked.search !== "" || asked.tag !== "" || asked.shared !== "";
  // While the answer to fewer filters is under way, the search must not go: it has the focus.
  const bare = found.for === asked && !filtered && found.items.length === 0;
  return html`<section class="list-view" aria-labelledby="list-title">
    <${Heading}><span id="list-title">${title}</span><//>
    ${owner && html`<${Received} />`}
    ${!bare && html`<${Filters} asked=${asked} change=${change} owner=${owner} />`}
    ${found.problem && html`<${Trouble} problem=${found.problem} again=${found.retry} />`}
    ${found.items === null && !found.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${found.items !== null &&
    html`<${SelectAll} asked=${asked} owner=${owner} items=${found.items}>
      ${(all) => html`<${List} all=${all} asked=${asked} change=${change} items=${found.items} owner=${owner} />`}
    <//>`}
    ${found.items?.length === 0 &&
    (filtered
      ? html`<${Empty} title=${t("secrets.none")} help=${t("secrets.none.help")}>
          <button type="button" onClick=${() => change({ search: "", tag: "", shared: "" })}>${t("secrets.clear")}</button>
        <//>`
      : html`<${Empty} title=${t(owner ? "secrets.shared.empty" : "secrets.empty")} help=${owner ? null : t("secrets.empty.help")} />`)}
    <${Pages} asked=${asked} setAsked=${setAsked} next=${found.for === asked ? found.next : null} waits=${found.for !== asked} />
  </section>`;
}

function Filters({ asked, change, owner }) {
  const [tags, setTags] = useState([]);
  useEffect(() => {
    get("/secrets/tags", { owner }).then(setTags, () => {}); // without them the list still works
  }, [owner]);
  return html`<div class="filters" role="search">
    <input
      type="search"
      class="wide"
      aria-label=${t("secrets.search")}
      placeholder=${t("secrets.search")}
      autocomplete="off"
      spellcheck=${false}
      maxlength="200"
      value=${asked.search}
      onInput=${(event) => change({ search: event.target.value })}
    />
    <label>
      <span>${t("secrets.tag")}</span>
      <select value=${asked.tag} onChange=${(event) => change({ tag: event.target.value })}>
        <option value="">${t("secrets.tag.any")}</option>
        ${tags.map((tag) => html`<option key=${tag} value=${tag}>${shown(tag)}</option>`)}
      </select>
    </label>
    ${!owner &&
    html`<label>
      <span>${t("secrets.sharedFilter")}</span>
      <select value=${asked.shared} onChange=${(event) => change({ shared: event.target.value })}>
        <option value="">${t("secrets.shared.any")}</option>
        <option value="true">${t("secrets.yes")}</option>
        <option value="false">${t("secrets.no")}</option>
      </select>
    </label>`}
  </div>`;
}

/**
 * The header's checkbox: everything that matches now, not only this page. It fetches the ids, so that
 * what is sent later is what was counted here.
 */
function SelectAll({ asked, owner, items, children }) {
  const selected = useStore(selection);
  const [all, setAll] = useState(null);
  const busy = useStore(selecting) !== null;
  const [problem, setProblem] = useState(null);
  const key = JSON.stringify(filterOf(asked, owner));
  const now = useRef();
  now.current = key;
  useEffect(() => {
    setAll(null);
    setProblem(null);
  }, [key]);
  const checked = useMemo(
    () => all !== null && all.ids.length > 0 && all.ids.every((id) => selected.has(id)),
    [all, selected],
  );
  const some = !checked && items.some((item) => selected.has(item.id));
  const toggle = async () => {
    if (checked) {
      unselect(all.ids);
      setAll(null);
      return;
    }
    const mine = {};
    selecting.set(mine);
    setProblem(null);
    try {
      const found = await get("/secrets/ids", filterOf(asked, owner));
      // The search may have gone on, or the selection been emptied, while the answer was under way.
      if (now.current !== key || selecting.get() !== mine) return;
      const ids = found.filter((one) => one.shareable).map((one) => one.id);
      const left = (reason) => found.filter((one) => one.reason === reason).length;
      const made = { ids, total: found.length, not_allowed: left("not_allowed"), disabled: left("disabled") };
      select(ids.map((id) => [id, null]));
      setAll(made);
      say(allText(made).join(" "));
    } catch (error) {
      setProblem(error);
    } finally {
      if (selecting.get() === mine) selecting.set(null);
    }
  };
  // Emptied or changed meanwhile: what was said of all holds no more.
  const told = checked || (all !== null && all.ids.length === 0) ? allText(all) : [];
  return html`
    ${items.length > 0 && html`<p class="all-told">${told.map((line) => html`<span key=${line}>${line} </span>`)}</p>`}
    ${problem && html`<${Trouble} problem=${problem} again=${toggle} />`}
    ${children({ checked, some, busy, toggle })}
  `;
}

function allText(all) {
  const lines = [];
  if (all.ids.length === 0) lines.push(t("secrets.all.none"));
  else if (all.ids.length === all.total) lines.push(t("secrets.all", { n: all.total }));
  else lines.push(t("secrets.all.some", { n: all.ids.length, total: all.total }));
  for (const reason of ["not_allowed", "disabled"]) {
    if (all[reason] > 0) lines.push(t(`secrets.all.${reason}`, { n: all[reason] }));
  }
  return lines;
}

function Sortable({ by, asked, change, children }) {
  const direction = asked.sort === by ? "ascending" : asked.sort === `-${by}` ? "descending" : null;
  const next = direction === "ascending" ? `-${by}` : by;
  return html`<th scope="col" class=${by} aria-sort=${direction}>
    <button type="button" class="sort" onClick=${() => change({ sort: next })} title=${t("secrets.sort", { column: children })}>
      ${children}${direction && html`<${Icon} name=${direction === "ascending" ? "up" : "down"} />`}
    </button>
  </th>`;
}

function List({ all, asked, change, items, owner }) {
  const selected = useStore(selection);
  if (items.length === 0) return null;
  return html`<div class="table-frame">
    <table class="secrets" aria-label=${t(owner ? "nav.shared" : "nav.secrets")}>
      <thead>
        <tr>
          <th scope="col" class="tick">
            <input
              type="checkbox"
              aria-label=${t("secrets.selectAll")}
              title=${t("secrets.selectAll")}
              aria-busy=${all.busy}
              checked=${all.checked}
              ref=${(box) => box && (box.indeterminate = all.some)}
              onClick=${(event) => {
                // The tick follows the selection, not the click.
                event.preventDefault();
                setTimeout(all.toggle);
              }}
            />
          </th>
          <${Sortable} by="id" asked=${asked} change=${change}>${t("secrets.id")}<//>
          <${Sortable} by="name" asked=${asked} change=${change}>${t("secrets.name")}<//>
          <th scope="col" class="url">${t("secrets.url")}</th>
          <th scope="col" class="tags">${t("secrets.tags")}</th>
          <th scope="col" class="shared">${t(owner ? "secrets.permission" : "secrets.shared")}</th>
          <th scope="col" class="owner">${t("secrets.owner")}</th>
          <th scope="col" class="status">${t("secrets.status")}</th>
        </tr>
      </thead>
      <tbody>
        ${items.map((item) => html`<${Row} key=${item.id} item=${item} ticked=${selected.has(item.id)} owner=${owner} />`)}
      </tbody>
    </table>
  </div>`;
}

function Row({ item, ticked, owner: others }) {
  // Why it cannot be ticked is to be read in the row, and so is said with the box.
  const why = item.shareable ? null : item.permission !== "view" ? "status" : others ? "shared" : "why";
  const owner = item.permission === "owner" ? t("secrets.mine") : whoOf(item.owner);
  const status = item.disabled
    ? html`<${Pill} kind="off">${t("secrets.disabled")}<//>`
    : html`<${Pill} kind="on">${t("secrets.active")}<//>`;
  const shared = t(others ? `permission.${item.permission}` : item.shared ? "secrets.yes" : "secrets.no");
  // Without what nearly all begin with, more of it can be read.
  const url = item.url.replace(/^https:\/\//, "");
  return html`<tr class=${ticked ? "ticked" : ""}>
    <td class="tick">
      <input
        type="checkbox"
        aria-label=${t("secrets.select", { name: item.name })}
        aria-describedby=${why && `${why}-${item.id}`}
        disabled=${!item.shareable && !ticked}
        checked=${ticked}
        onChange=${(event) => (event.target.checked ? select([[item.id, item.name]]) : unselect([item.id]))}
      />
    </td>
    <td class="id">${item.id}</td>
    <td class="name">
      <a href=${`#/secrets/${item.id}`}>${shown(item.name)}</a>
      ${why === "why" && html`<div class="below always" id=${`why-${item.id}`}>${t("secrets.viewOnly")}</div>`}
      <div class="below address" title=${shown(item.url)}><${Address} url=${url} /></div>
      <div class="below brief">
        <span>${t("secrets.id")}: ${item.id}</span>
        <span>${t("secrets.owner")}: ${owner}</span>
        <span>${t(others ? "secrets.permission" : "secrets.shared")}: ${shared}</span>
        ${item.tags.length > 0 && html`<span class="narrow">${t("secrets.tags")}: ${shown(item.tags.join(", "))}</span>`}
      </div>
    </td>
    <td class="url" title=${shown(item.url)}>${shown(url)}</td>
    <td class="tags">${item.tags.map((tag) => html`<${Pill} key=${tag} kind="tag">${shown(tag)}<//>`)}</td>
    <td class="shared" id=${`shared-${item.id}`}>${shared}</td>
    <td class="owner">${owner}</td>
    <td class="status" id=${`status-${item.id}`}>${status}</td>
  </tr>`;
}

function Pages({ asked, setAsked, next, waits }) {
  const page = asked.cursors.length;
  if (page === 1 && !next && !waits) return null;
  const go = (cursors) => {
    setAsked((old) => ({ ...old, cursors }));
    document.getElementById("main").scrollTo?.(0, 0);
    scrollTo(0, 0);
  };
  // Not `disabled`, which would take the focus away from whoever pages with the keyboard.
  const first = page === 1;
  return html`<div class="pages">
    <${IconButton} icon="back" label=${t("secrets.previous")} aria-disabled=${first} onClick=${() => first || go(asked.cursors.slice(0, -1))} />
    <span>${t("secrets.page", { page })}</span>
    <${IconButton} icon="next" label=${t("secrets.next")} aria-disabled=${!next} onClick=${() => next && go([...asked.cursors, next])} />
  </div>`;
}
