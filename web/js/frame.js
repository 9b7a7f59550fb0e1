// The frame: header with the grid menu, and the side menu.
import { html, store, useEffect, useRef, useState, useStore } from "./lib.js";
import { choosePerson, people } from "./api.js";
import { focusHeading } from "./focus.js";
import { language, t, useLanguage } from "./i18n.js";
import { whoOf } from "./words.js";
import { Unseen } from "./received.js";
import { lastList } from "./secrets.js";
import { sending } from "./state.js";
import { follow } from "./stream.js";
import { Icon, IconButton } from "./ui.js";

function GridMenu() {
  const [open, setOpen] = useState(false);
  const menu = useRef();
  const button = () => menu.current.querySelector("button");
  // Where MySafe is open already, no new view takes the focus.
  const gone = () => {
    setOpen(false);
    focusHeading();
  };
  useEffect(() => {
    if (!open) return undefined;
    const shut = () => setOpen(false);
    const close = (event) => {
      if (event.type === "keydown" && event.key !== "Escape") return;
      if (event.type === "keydown") button().focus();
      else if (menu.current.contains(event.target)) return;
      shut();
    };
    document.addEventListener("keydown", close);
    document.addEventListener("pointerdown", close);
    addEventListener("hashchange", shut);
    return () => {
      document.removeEventListener("keydown", close);
      document.removeEventListener("pointerdown", close);
      removeEventListener("hashchange", shut);
    };
  }, [open]);
  return html`<div class="grid-menu" ref=${menu}>
    <${IconButton} icon="grid" label=${t("app.grid")} aria-expanded=${open} onClick=${() => setOpen(!open)} />
    ${open &&
    html`<ul class="popup">
      <li>
        <a href="#/secrets" onClick=${gone}><${Icon} name="key" />MySafe</a>
      </li>
    </ul>`}
  </div>`;
}

/** In demo mode: the people to choose from, once they are known. */
export const known = store([]);

/**
 * In demo mode: who to be. Where nobody could be signed in, it is there if the server is in demo mode: it
 * says so by knowing people to choose from.
 */
function PersonChooser({ person }) {
  const all = useStore(known);
  const shares = useStore(sending);
  useEffect(() => {
    const read = async () => {
      const found = [];
      let cursor = null;
      do {
        const page = await people(cursor);
        found.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor && found.length < 1_000);
      known.set(found);
    };
    read().catch(() => {}); // the present person's name stays
  }, []);
  const choose = async (event) => {
    const username = event.target.value;
    try {
      follow(await choosePerson(username));
    } catch {
      event.target.value = person.username ?? "";
    }
  };
  const nobody = { username: "", name: t("app.person.choose") };
  const present = person.id ? person : nobody;
  if (!person.id && all.length === 0) return null;
  const shown = all.some((one) => one.username === present.username) ? all : [present, ...all];
  // Whoever leaves would not learn what became of what they were sending.
  const waits = shares.length > 0;
  return html`<select
    class="person"
    aria-label=${t("app.person")}
    title=${waits ? t("app.person.waits") : null}
    value=${present.username}
    disabled=${waits}
    onChange=${choose}
  >
    ${shown.map((one) => html`<option key=${one.username} value=${one.username}>${whoOf(one)}</option>`)}
  </select>`;
}

const THEMES = ["auto", "light", "dark"];

function ThemeButton() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? "auto");
  const next = () => {
    const chosen = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    if (chosen === "auto") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("batchshare.theme");
    } else {
      document.documentElement.dataset.theme = chosen;
      localStorage.setItem("batchshare.theme", chosen);
    }
    setTheme(chosen);
  };
  return html`<${IconButton} icon=${theme} label=${t(`app.theme.${theme}`)} onClick=${next} />`;
}

export function Header({ person }) {
  const other = language.get() === "en" ? "pt-BR" : "en";
  return html`<header class="top">
    <${GridMenu} />
    <span class="brand">MySafe</span>
    <span class="spring"></span>
    ${(person?.auth_mode === "demo" || person?.nobody) && html`<${PersonChooser} person=${person} />`}
    ${person?.id && person.auth_mode !== "demo" && html`<span class="person">${whoOf(person)}</span>`}
    <button type="button" class="language" aria-label=${t("app.language")} title=${t("app.language")} onClick=${() => useLanguage(other)}>
      ${t("app.language.short")}
    </button>
    <${ThemeButton} />
  </header>`;
}

const ITEMS = [
  ["secrets", "key", "nav.secrets"],
  ["shared", "inbox", "nav.shared"],
  ["jobs", "list", "nav.jobs"],
];

export function SideMenu({ at }) {
  const [first, id] = at.split("/");
  const here = first === "secrets" && id ? lastList : first;
  return html`<nav aria-label=${t("app.menu")}>
    <ul>
      ${ITEMS.map(
        ([path, icon, key]) => html`<li key=${path}>
          <a href=${`#/${path}`} aria-current=${here === path ? "page" : null} aria-describedby=${path === "shared" ? "unseen" : null}
            ><${Icon} name=${icon} />${t(key)}</a
          >
          ${path === "shared" && html`<${Unseen} id="unseen" />`}
        </li>`,
      )}
    </ul>
  </nav>`;
}
