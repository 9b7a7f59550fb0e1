// Who has access to a secret: by grant, with taking it back and lowering it, and by person, with why.
import { html, useState, useStore } from "./lib.js";
import { send } from "./api.js";
import { shown, t, time } from "./i18n.js";
import { useListing } from "./listing.js";
import { live, say, submit } from "./state.js";
import { done } from "./toasts.js";
import { Confirm, IconButton, Trouble } from "./ui.js";
import { Ways, Why } from "./why.js";
import { kindOf, nameOf, whoOf } from "./words.js";

export function Access({ secret, mayEdit, onTaken }) {
  const { news } = useStore(live);
  // Counts what was taken back here: the people are read again, too.
  const [taken, setTaken] = useState(0);
  return html`<${Grants} secret=${secret} mayEdit=${mayEdit} news=${news} onTaken=${() => {
      onTaken();
      setTaken(taken + 1);
    }} />
    ${mayEdit && html`<${People} secret=${secret} news=${`${news} ${taken}`} />`}`;
}

const who = (grant) => nameOf({ ...grant, id: grant.principal_id });

function Grants({ secret, mayEdit, news, onTaken }) {
  const page = useListing(`/secrets/${secret.id}/grants`, [secret.id, news]);
  const [asking, setAsking] = useState(null); // the grant, and whether it is to be lowered only
  const [failed, setFailed] = useState(null);
  const [left, setLeft] = useState(null); // what access somebody has whose grant was taken back
  // A share is told only to whoever made it: the owner, but for few.
  const mine = secret.permission === "owner";
  const revoke = async (grant) => {
    setAsking(null);
    setFailed(null);
    setLeft(null);
    try {
      const still = await send("DELETE", `/secrets/${secret.id}/grants/${grant.principal_id}`);
      if (still) {
        setLeft({ grant, still });
        say(leftText(grant, still));
      } else done(t("secret.revoked", { name: who(grant) }));
      // Whoever takes back what gave them access sees this secret no more.
      onTaken();
      page.again();
    } catch (problem) {
      setFailed({ grant, problem });
    }
  };
  // As a job, like everything that is taken away from many: it is told among the notices.
  const lower = ({ kind, principal_id, name, username, email }) => {
    setAsking(null);
    const recipients = [{ kind, id: principal_id, name, username, email, permission: "edit" }];
    submit({ kind: "unshare", secrets: new Map([[secret.id, secret.name]]), recipients });
  };
  return html`<h2>${t("secret.access")}</h2>
    ${left && html`<${Left} left=${left} onClose=${() => setLeft(null)} />`}
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${page.again} />`}
    ${failed && html`<${Trouble} problem=${failed.problem} again=${() => revoke(failed.grant)} />`}
    ${page.items?.length === 0 && html`<p class="quiet">${t("secret.access.none")}</p>`}
    ${page.items?.length > 0 &&
    html`<div class="table-frame">
      <table class="access" aria-label=${t("secret.access")}>
        <thead>
          <tr>
            <th scope="col">${t("secret.who")}</th>
            <th scope="col" class="kind">${t("job.kind")}</th>
            <th scope="col">${t("secrets.permission")}</th>
            <th scope="col" class="since">${t("secret.since")}</th>
            ${mine && html`<th scope="col" class="job">${t("secret.job")}</th>`}
            ${mayEdit && html`<th scope="col" class="tick"><span class="unseen">${t("secret.actions")}</span></th>`}
          </tr>
        </thead>
        <tbody>
          ${page.items.map(
            (grant) => html`<tr key=${grant.principal_id}>
              <th scope="row">
                ${who(grant)}
                <div class="below">${kindOf(grant)}</div>
                ${mine && grant.job_id && html`<div class="below"><${JobLink} grant=${grant} /></div>`}
              </th>
              <td class="kind">${kindOf(grant)}</td>
              <td>
                ${t(`permission.${grant.permission}`)}
                ${mayEdit && grant.permission === "edit" && grant.kind &&
                html`<button
                  type="button"
                  class="plain small"
                  aria-label=${t("secret.lower", { name: who(grant) })}
                  onClick=${() => setAsking({ grant, lower: true })}
                >
                  ${t("secret.lower.short")}
                </button>`}
              </td>
              <td class="since">${time(grant.granted_at)}</td>
              ${mine &&
              html`<td class="job">
                ${grant.job_id ? html`<${JobLink} grant=${grant} />` : t("secret.byHand")}
              </td>`}
              ${mayEdit &&
              html`<td class="tick"><${IconButton} icon="trash" label=${t("secret.revoke", { name: who(grant) })} onClick=${() => setAsking({ grant })} /></td>`}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
    ${page.next && html`<button type="button" class="more" onClick=${page.more}>${t("app.more")}</button>`}
    ${asking &&
    html`<${Confirm}
      danger
      title=${t(asking.lower ? "secret.lower.title" : "secret.revoke.title")}
      onNo=${() => setAsking(null)}
      onYes=${() => (asking.lower ? lower : revoke)(asking.grant)}
    >
      ${t(asking.lower ? "secret.lower.confirm" : "secret.revoke.confirm", { name: who(asking.grant) })}
    <//>`}`;
}

const JobLink = ({ grant }) =>
  html`<a href=${`#/jobs/${grant.job_id}`} aria-label=${t("secret.job.open", { name: who(grant) })}>${t("secret.job.see")}</a>`;

const leftText = (grant, { effective }) => `${t("secret.revoked", { name: who(grant) })} ${t(`secret.left.${effective}`)}`;

/** The grant is gone, and the person still has access: what, and through what. It stays until it was read. */
const Left = ({ left: { grant, still }, onClose }) => html`<div class="left-over">
  <p><strong>${leftText(grant, still)}</strong></p>
  <${Ways} because=${still.because} />
  <button type="button" class="small" onClick=${onClose}>${t("secret.left.read")}</button>
</div>`;

/** Everybody with access, whatever gives it. */
function People({ secret, news }) {
  const page = useListing(`/secrets/${secret.id}/people`, [secret.id, news]);
  const [asking, setAsking] = useState(null);
  return html`<h2>${t("secret.people")}</h2>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${page.again} />`}
    ${page.items?.length > 0 &&
    html`<div class="table-frame">
      <table class="people" aria-label=${t("secret.people")}>
        <thead>
          <tr>
            <th scope="col">${t("secret.person")}</th>
            <th scope="col" class="mail">${t("secret.mail")}</th>
            <th scope="col" class="may">${t("secrets.permission")}</th>
            <th scope="col" class="why"><span class="unseen">${t("why")}</span></th>
          </tr>
        </thead>
        <tbody>
          ${page.items.map(
            (person) => html`<tr key=${person.id}>
              <th scope="row">${shown(person.name)}<div class="below">${shown(person.email)}</div></th>
              <td class="mail">${shown(person.email) || "–"}</td>
              <td class="may">${t(`permission.${person.permission}`)}</td>
              <td class="why">
                <button type="button" class="plain small" aria-label=${t("why.title", { name: whoOf(person) })} onClick=${() => setAsking(person)}>
                  ${t("why")}
                </button>
              </td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
    ${page.next && html`<button type="button" class="more" onClick=${page.more}>${t("app.more")}</button>`}
    ${asking && html`<${Why} secret=${secret} person=${asking} onClose=${() => setAsking(null)} />`}`;
}
