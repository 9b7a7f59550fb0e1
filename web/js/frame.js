// The frame: header with the grid menu, and the side menu.
import { html, useEffect, useRef, useState } from "./lib.js";
import { get, send } from "./api.js";
import { language, t, useLanguage } from "./i18n.js";
import { clearSelection, me, sending } from "./state.js";
import { Icon, IconButton } from "./ui.js";

function GridMenu() {
  const [open, setOpen] = useState(false);
  const menu = useRef();
  useEffect(() => {
    if (!open) return undefined;
    const close = (event) => {
      if (event.type === "keydown" && event.key !== "Escape") return;
      if (event.type === "keydown") menu.current.querySelector("button").focus();
      else if (menu.current.contains(event.target)) return;
      setOpen(false);
    };
    document.addEventListener("keydown", close);
    document.addEventListener("pointerdown", close);
    return () => {
      document.removeEventListener("keydown", close);
      document.removeEventListener("pointerdown", close);
    };
  }, [open]);
  return html`<div class="grid-menu" ref=${menu}>
    <${IconButton} icon="grid" label=${t("app.grid")} aria-expanded=${open} onClick=${() => setOpen(!open)} />
    ${open &&
    html`<ul class="popup">
      <li>
        <a href="#/secrets" onClick=${() => setOpen(false)}><${Icon} name="key" />MySafe</a>
      </li>
    </ul>`}
  </div>`;
}

/** In demo mode: who to be. */
function PersonChooser({ person }) {
  const [people, setPeople] = useState([]);
  useEffect(() => {
    const read = async () => {
      const all = [];
      let cursor = null;
      do {
        const page = await get("/demo/people", { cursor });
        all.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor && all.length < 1_000);
      setPeople(all);
    };
    read().catch(() => {}); // the present person's name stays
  }, []);
  const choose = async (event) => {
    const username = event.target.value;
    try {
      const chosen = await send("PUT", "/demo/me", { username });
      // Nothing of one person may reach another.
      clearSelection();
      sending.set([]);
      me.set(chosen);
    } catch {
      event.target.value = person.username;
    }
  };
  const known = people.some((one) => one.username === person.username) ? people : [person, ...people];
  return html`<select class="person" aria-label=${t("app.person")} value=${person.username} onChange=${choose}>
    ${known.map((one) => html`<option key=${one.username} value=${one.username}>${one.name}</option>`)}
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
    ${person?.auth_mode === "demo" && html`<${PersonChooser} key=${person.id} person=${person} />`}
    ${person?.id && person.auth_mode !== "demo" && html`<span class="person">${person.name}</span>`}
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
  return html`<nav aria-label=${t("app.menu")}>
    <ul>
      ${ITEMS.map(
        ([path, icon, key]) => html`<li key=${path}>
          <a href=${`#/${path}`} aria-current=${at.split("/")[0] === path ? "page" : null}><${Icon} name=${icon} />${t(key)}</a>
        </li>`,
      )}
    </ul>
  </nav>`;
}
