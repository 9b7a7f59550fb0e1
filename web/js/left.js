// Who still has access after an undo or an unshare, and through what: so that nobody is taken for gone who is not.
import { html } from "./lib.js";
import { t } from "./i18n.js";
import { useListing } from "./listing.js";
import { Trouble } from "./ui.js";
import { wayText } from "./why.js";
import { nameOf } from "./words.js";

export function AccessLeft({ job }) {
  const page = useListing(`/share-jobs/${job.job_id}/access-left`, [job.job_id, job.run], true);
  const title = t("job.left");
  return html`<h2>${title}</h2>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${page.again} />`}
    ${page.items === null && !page.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${page.items?.length === 0 && html`<p class="quiet">${t(page.next ? "job.left.noneYet" : "job.left.none")}</p>`}
    ${page.items?.length > 0 &&
    html`<div class="table-frame">
      <table class="parts" aria-label=${title}>
        <thead>
          <tr>
            <th scope="col">${t("secret.person")}</th>
            <th scope="col">${t("kind.secret")}</th>
            <th scope="col" class="result">${t("job.left.through")}</th>
          </tr>
        </thead>
        <tbody>
          ${page.items.map(
            ({ user, secret, access }) => html`<tr key=${`${user.id} ${secret.id}`}>
              <th scope="row">${nameOf({ ...user, kind: "user" })}</th>
              <td><a href=${`#/secrets/${secret.id}`}>${nameOf({ ...secret, kind: "secret" })}</a></td>
              <td class="result">${access.because.filter((way) => !way.inactive).map((way) => html`<span key=${way.principal.id}>${wayText(way)} </span>`)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
    ${page.next && html`<button type="button" class="more" onClick=${page.more}>${t("app.more")}</button>`}`;
}
