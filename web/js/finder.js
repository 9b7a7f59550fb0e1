// The search over people and groups, as the windows have it in which somebody is chosen.
import { html, oneAtATime, useEffect, useRef, useState } from "./lib.js";
import { get } from "./api.js";
import { shown, t } from "./i18n.js";
import { me, say } from "./state.js";
import { Icon, IconButton, Trouble } from "./ui.js";
import { whoOf } from "./words.js";

export const sameAs = (one) => (other) => one.kind === other.kind && one.id === other.id;

/** Of what kind a recipient is, and what tells it from others of its name. */
export const more = (one) => [t(`kind.${one.kind}`), ...[one.username, one.email].filter(Boolean).map(shown)].join(" · ");

/** Whoever shares a secret has access to it already. */
const unlessMe = (item) => (item.kind === "user" && item.id === me.get().id ? { ...item, eligible: false, reason: "self" } : item);

const LEAST = 2;
const MOST = 50;

/**
 * One search over people and groups. Its box is red while what stands in it can be nobody. With `anybody`, whoever
 * cannot be shared with can be chosen all the same: access is taken from them, too.
 */
export function Finder({ box, search, onType, chosen, onAdd, refused, onRefuse, anybody = false }) {
  const [found, setFound] = useState({ for: "", items: null, problem: null });
  const run = useRef(null);
  run.current ??= oneAtATime();
  const list = useRef();
  const wanted = search.trim();
  const look = () => {
    if ([...wanted].length < LEAST) {
      run.current(async () => setFound({ for: wanted, items: null, problem: null }));
      return;
    }
    run.current(async (isLatest) => {
      try {
        const { items } = await get("/recipients", { search: wanted, limit: MOST });
        if (!isLatest()) return;
        const choosable = anybody ? items.map((item) => ({ ...item, eligible: true })) : items.map(unlessMe);
        setFound({ for: wanted, items: choosable, problem: null });
        say(items.length === 0 ? t("share.none", { search: wanted }) : t("share.found", { n: items.length }));
      } catch (problem) {
        if (isLatest()) setFound({ for: wanted, items: null, problem });
      }
    });
  };
  useEffect(look, [wanted]);
  const move = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const inBox = event.target === box.current;
    if (event.key === "Enter" && inBox) event.preventDefault(); // it must not send
    const down = step === 1 || (event.key === "Enter" && inBox);
    if (!down && step !== -1) return;
    const all = [...(list.current?.querySelectorAll("button") ?? [])];
    const next = all.indexOf(document.activeElement) + (down ? 1 : -1);
    event.preventDefault();
    (next < 0 ? box.current : all[Math.min(next, all.length - 1)])?.focus();
  };
  const add = (item) => {
    if (chosen.some(sameAs(item))) return;
    if (!item.eligible) {
      onRefuse(`${whoOf(item)}: ${t(`reason.${item.reason}`)}`);
      return;
    }
    onAdd(item);
    box.current.focus();
  };
  const nobody = wanted !== "" && found.for === wanted && found.items?.length === 0;
  const wrong = refused ?? (nobody ? t("share.none", { search: wanted }) : null);
  return html`<div class="finder" onKeyDown=${move}>
    <input
      ref=${box}
      type="search"
      class="wide"
      data-autofocus
      aria-label=${t("share.search")}
      aria-describedby="finder-help"
      aria-invalid=${wrong ? "true" : null}
      placeholder=${t("share.search")}
      autocomplete="off"
      spellcheck=${false}
      maxlength="200"
      value=${search}
      onInput=${(event) => onType(event.target.value)}
    />
    <p class=${wrong ? "refused" : "quiet"} id="finder-help">${wrong ?? t("share.search.help")}</p>
    ${found.problem && html`<${Trouble} problem=${found.problem} again=${look} />`}
    ${wanted !== "" && found.items?.length > 0 &&
    html`<ul class="results" ref=${list} aria-label=${t("share.results")}>
      ${found.items.map((item) => html`<${Result} key=${`${item.kind} ${item.id}`} item=${item} taken=${chosen.some(sameAs(item))} add=${add} />`)}
    </ul>
    ${found.items.length === MOST && html`<p class="quiet">${t("share.most")}</p>`}`}
  </div>`;
}

function Result({ item, taken, add }) {
  const why = item.eligible ? (taken ? t("share.already") : null) : t(`reason.${item.reason}`);
  // Kept in reach of the keyboard, so that everybody can read why not.
  return html`<li>
    <button type="button" aria-disabled=${why !== null} onClick=${() => add(item)}>
      <${Icon} name=${item.kind} />
      <span class="line-name">${shown(item.name)}<small>${more(item)}</small></span>
      ${why && html`<span class="why">${why}</span>`}
    </button>
  </li>`;
}

/**
 * Whom a window has chosen, at first those in `before`. `go` does `act` with them, or says why not yet. `finder` has the
 * properties of the window's `Finder`.
 */
export function useChosen(before, act) {
  const [chosen, setChosen] = useState(before);
  const [search, setSearch] = useState("");
  const [refused, setRefused] = useState(null); // why nothing is done or chosen, in words
  const box = useRef();
  const onType = (text) => {
    setSearch(text);
    setRefused(null);
  };
  const onAdd = (found) => {
    onType("");
    setChosen((old) => [...old, { ...found, permission: "view" }]);
    say(t("share.added", { name: whoOf(found) }));
  };
  const onRefuse = (why) => {
    setRefused(why);
    say(why);
    box.current.focus();
  };
  const remove = (gone) => {
    setChosen((old) => old.filter((one) => !sameAs(gone)(one)));
    say(t("share.removed", { name: whoOf(gone) }));
    box.current.focus();
  };
  const permit = (who, edit) =>
    setChosen((old) => old.map((one) => (sameAs(who)(one) ? { ...one, permission: edit ? "edit" : "view" } : one)));
  const go = () => {
    // Somebody who was typed and not chosen must not be left out without a word.
    if (search.trim() !== "") onRefuse(t("share.unchosen"));
    else if (chosen.length === 0) onRefuse(t("share.chosen.none"));
    else act(chosen);
  };
  return { chosen, permit, remove, go, finder: { box, search, onType, chosen, onAdd, refused, onRefuse } };
}

/** Those who are chosen, each with what `boxes` makes of them. */
export const ChosenLines = ({ chosen, remove, boxes }) => html`<h3>${t("share.chosen")}</h3>
  ${chosen.length === 0 && html`<p class="quiet">${t("share.chosen.yet")}</p>`}
  <div class="lines chosen">
    ${chosen.map(
      (one) => html`<div key=${`${one.kind} ${one.id}`} class="line" role="group" aria-label=${whoOf(one)}>
        <${Icon} name=${one.kind} />
        <span class="line-name">${shown(one.name)}<small>${more(one)}</small></span>
        ${boxes(one)}
        <${IconButton} icon="trash" label=${t("share.remove", { name: whoOf(one) })} onClick=${() => remove(one)} />
      </div>`,
    )}
  </div>`;
