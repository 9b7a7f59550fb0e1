// Taking access to the selected secrets away from people and groups: the window, and the question with its counts.
import { html, useRef, useState } from "./lib.js";
import { send as ask } from "./api.js";
import { Foreseen, foreseenLines, Question, useForeseen } from "./control.js";
import { Finder, more, sameAs } from "./finder.js";
import { shown, t } from "./i18n.js";
import { say } from "./state.js";
import { Dialog, Icon, IconButton } from "./ui.js";
import { whatOf, whoOf } from "./words.js";

/** Like the share window, but whoever is chosen loses access: all of it, or only the editing. */
export function UnshareWindow({ secrets, chosen: before, onClose, onSend }) {
  const [chosen, setChosen] = useState(before);
  const [search, setSearch] = useState("");
  const [refused, setRefused] = useState(null); // why nothing is sent, in words
  const [asking, setAsking] = useState(false);
  const box = useRef();
  const type = (text) => {
    setSearch(text);
    setRefused(null);
  };
  const add = (found) => {
    type("");
    setChosen((old) => [...old, { ...found, permission: "view" }]);
    say(t("share.added", { name: whoOf(found) }));
  };
  const remove = (gone) => {
    setChosen((old) => old.filter((one) => !sameAs(gone)(one)));
    say(t("share.removed", { name: whoOf(gone) }));
    box.current.focus();
  };
  const keep = (who, view) =>
    setChosen((old) => old.map((one) => (sameAs(who)(one) ? { ...one, permission: view ? "edit" : "view" } : one)));
  const refuse = (why) => {
    setRefused(why);
    say(why);
    box.current.focus();
  };
  const go = () => {
    // Somebody who was typed and not chosen must not be left out without a word.
    if (search.trim() !== "") refuse(t("share.unchosen"));
    else if (chosen.length === 0) refuse(t("share.chosen.none"));
    else setAsking(true);
  };
  return html`<${Dialog}
      title=${t("unshare.title", { n: secrets.size })}
      className="share-window"
      onClose=${onClose}
      onSubmit=${go}
      actions=${html`<span class="spring"></span>
        <button type="button" onClick=${onClose}>${t("app.cancel")}</button>
        <button type="submit" class="danger">${t("unshare")}</button>`}
    >
      <${Finder} box=${box} search=${search} onType=${type} chosen=${chosen} onAdd=${add} refused=${refused} onRefuse=${refuse} anybody />
      <h3>${t("share.chosen")}</h3>
      ${chosen.length === 0 && html`<p class="quiet">${t("share.chosen.yet")}</p>`}
      <div class="lines chosen">
        ${chosen.map((one) => html`<${Chosen} key=${`${one.kind} ${one.id}`} one=${one} keep=${keep} remove=${remove} />`)}
      </div>
    <//>
    ${asking && html`<${UnshareQuestion} secrets=${secrets} recipients=${chosen} onClose=${() => setAsking(false)} onSend=${onSend} />`}`;
}

const Chosen = ({ one, keep, remove }) => html`<div class="line" role="group" aria-label=${whoOf(one)}>
  <${Icon} name=${one.kind} />
  <span class="line-name">${shown(one.name)}<small>${more(one)}</small></span>
  <label class="box">
    <input type="checkbox" checked=${one.permission === "edit"} onChange=${(event) => keep(one, event.target.checked)} />
    ${t("unshare.keep")}
  </label>
  <${IconButton} icon="trash" label=${t("share.remove", { name: whoOf(one) })} onClick=${() => remove(one)} />
</div>`;

const lines = (preview) => foreseenLines("unshare", preview);

/** What would be taken from whom; it cannot be undone, and the question says so. */
function UnshareQuestion({ secrets, recipients, onClose, onSend }) {
  const body = {
    secrets: { ids: [...secrets.keys()] },
    recipients: recipients.map(({ kind, id, permission }) => ({ kind, id, permission })),
  };
  const found = useForeseen(() => ask("POST", "/unshare-jobs/preview", body), lines);
  const [[first, name]] = secrets;
  const about = {
    kind: "unshare",
    secrets: secrets.size,
    first_secrets: [{ id: first, name }],
    recipients: recipients.length,
    first_recipients: recipients.slice(0, 3),
  };
  // What comes of it is told among the notices.
  const act = async () => onSend(recipients);
  return html`<${Question} title=${t("unshare.confirm.title")} yes="unshare" waits=${!found.preview} act=${act} onClose=${onClose}>
    <p>${whatOf(about)}</p>
    <${Foreseen} found=${found} lines=${lines} />
    <p>${t("unshare.confirm.final")}</p>
  <//>`;
}
