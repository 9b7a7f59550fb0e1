// The page: frame, routes, and what runs from the start.
import "./focus.js";
import { html, render, store, useEffect, useStore } from "./lib.js";
import { language, t } from "./i18n.js";
import { live, me } from "./state.js";
import { connect, startStream } from "./stream.js";
import { Toasts } from "./toasts.js";
import { Heading, Missing, Spoken, TabTitle, Trouble } from "./ui.js";
import { Header, known, SideMenu } from "./frame.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { Notices } from "./notices.js";
import { Secret } from "./secret.js";
import { Secrets } from "./secrets.js";
import { SelectionBar } from "./share.js";

const path = () => location.hash.replace(/^#\/?/, "") || "secrets";
const route = store(path());
addEventListener("hashchange", () => {
  Heading.goneTo = true;
  route.set(path());
});

const ROUTES = [
  [/^secrets$/, () => html`<${Secrets} key="all" />`],
  [/^shared$/, () => html`<${Secrets} key="others" owner="others" />`],
  [/^secrets\/(\d+)$/, (id) => html`<${Secret} key=${id} id=${Number(id)} />`],
  [/^jobs$/, () => html`<${Jobs} />`],
  [/^jobs\/([0-9a-f-]{36})$/, (id) => html`<${Job} key=${id} id=${id} />`],
];

function View({ at }) {
  for (const [pattern, view] of ROUTES) {
    const found = pattern.exec(at);
    if (found) return view(...found.slice(1));
  }
  return html`<${Missing} title=${t("app.missing")} help=${t("app.missing.help")} />`;
}

function App() {
  const at = useStore(route);
  const person = useStore(me);
  const { connected } = useStore(live);
  const words = useStore(language);
  const others = useStore(known).length > 0;
  useEffect(() => {
    document.documentElement.lang = words;
  }, [words]);
  const signedIn = person?.id !== undefined;
  return html`<div class="page">
    <a class="skip" href="#main" onClick=${skip}>${t("app.skip")}</a>
    <${Header} person=${person} />
    <div class="side">
      <${SideMenu} at=${at} />
      ${signedIn && html`<${Notices} key=${person.id} />`}
    </div>
    <main id="main" tabindex="-1">
      ${person === null && html`<p class="quiet">${t("app.loading")}</p>`}
      ${person instanceof Error &&
      html`<${Heading}>${t(person.nobody ? "app.nobody" : "app.away")}<//><${Trouble} problem=${person} again=${connect} />
        ${person.nobody && others && html`<p>${t("app.nobody.choose")}</p>`}`}
      ${signedIn && html`<${View} key=${person.id} at=${at} />`}
    </main>
    ${signedIn && html`<${SelectionBar} key=${person.id} />`}
    ${signedIn && html`<${Toasts} key=${person.id} />`}
    <${TabTitle} />
    <p class="offline" role="status">${signedIn && !connected && t("app.offline")}</p>
    <${Spoken} />
  </div>`;
}

// A link to #main would change the route.
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

render(html`<${App} />`, document.getElementById("app"));
startStream();
