// Taking access to the selected secrets away from people and groups: the window, and the question with its counts.
import { html, useState } from "./lib.js";
import { send as ask } from "./api.js";
import { Foreseen, foreseenLines, Question, useForeseen } from "./control.js";
import { ChosenLines, Finder, useChosen } from "./finder.js";
import { t } from "./i18n.js";
import { asked } from "./state.js";
import { Dialog } from "./ui.js";
import { whatOf } from "./words.js";

/** Like the share window, but whoever is chosen loses access: all of it, or only the editing. */
export function UnshareWindow({ secrets, chosen: before, onClose, onSend }) {
  const [asking, setAsking] = useState(false);
  const { chosen, permit, remove, go, finder } = useChosen(before, () => setAsking(true));
  const boxes = (one) => html`<label class="box">
    <input type="checkbox" checked=${one.permission === "edit"} onChange=${(event) => permit(one, event.target.checked)} />
    ${t("unshare.keep")}
  </label>`;
  return html`<${Dialog}
      title=${t("unshare.title", { n: secrets.size })}
      className="share-window"
      onClose=${onClose}
      onSubmit=${go}
      actions=${html`<span class="spring"></span>
        <button type="button" onClick=${onClose}>${t("app.cancel")}</button>
        <button type="submit" class="danger">${t("unshare")}</button>`}
    >
      <${Finder} ...${finder} anybody />
      <${ChosenLines} chosen=${chosen} remove=${remove} boxes=${boxes} />
    <//>
    ${asking && html`<${UnshareQuestion} secrets=${secrets} recipients=${chosen} onClose=${() => setAsking(false)} onSend=${onSend} />`}`;
}

const lines = (preview) => foreseenLines("unshare", preview);

/** What would be taken from whom; it cannot be undone, and the question says so. */
function UnshareQuestion({ secrets, recipients, onClose, onSend }) {
  const found = useForeseen(() => ask("POST", "/unshare-jobs/preview", asked({ secrets, recipients })), lines);
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
