// My shares, as a list: what each is about, and what came of it.
import { html, useStore } from "./lib.js";
import { number, t, time } from "./i18n.js";
import { useListing } from "./listing.js";
import { isTerminal, live, moved } from "./state.js";
import { Empty, Heading, Pill, ToSecrets, Trouble } from "./ui.js";
import { linesOf, namesOf, of, toneOf, whatOf } from "./words.js";

export const State = ({ job }) =>
  html`<${Pill} kind=${isTerminal(job.state) ? toneOf(job) : "busy"}>${t(`state.${job.state}`)}<//>`;

/** Pairs that are done, of all. It breaks between the two numbers and never within one. */
export function Progress({ job: { done_pairs: done, pairs } }) {
  const whole = (n) => html`<span class="whole">${n}</span>`;
  if (pairs === null) return "–";
  return done === pairs ? whole(number(pairs)) : html`${whole(`${number(done)} /`)} ${whole(number(pairs))}`;
}

export function Jobs() {
  const { jobs, news } = useStore(live);
  // Known jobs move by the stream; one that begins or ends is read.
  const page = useListing("/share-jobs", [news]);
  const items = page.items?.map((job) => moved(job, jobs.get(job.job_id)));
  return html`<${Heading}>${t("nav.jobs")}<//>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${page.again} />`}
    ${!items && !page.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${items?.length === 0 &&
    html`<${Empty} title=${t("jobs.none")} help=${t("jobs.none.help")}><${ToSecrets} /><//>`}
    ${items?.length > 0 && html`<${JobTable} items=${items} />`}
    ${page.next && html`<button type="button" onClick=${page.more}>${t("app.more")}</button>`}`;
}

/** What happened, a line for each outcome. */
const Lines = ({ job }) => linesOf({ ...job, pairs: null, reason: null, state: null }).map((text) => html`<span key=${text}>${text}</span>`);

/** How far it is and what happened, below the state, for a window too narrow for a column each. */
function Outcome({ job }) {
  const { done_pairs: done, pairs } = job;
  return html`<div class="below outcomes">
    ${!isTerminal(job.state) && pairs !== null && html`<span class="far">${t("card.progress", { done, pairs })}</span>`}
    <${Lines} job=${job} />
  </div>`;
}

function Row({ job }) {
  const kind = job.kind === "share" ? "" : `${t(of(job, "job.title"))} · `;
  return html`<tr>
    <th scope="row" class="about">
      <a href=${`#/jobs/${job.job_id}`}>${whatOf(job) || t(of(job, "job.title"))}</a>
      <div class="below always names">${namesOf(job)}</div>
      <div class="below always">${kind}${time(job.requested_at)}${job.undone_by && ` · ${t("jobs.undone")}`}</div>
    </th>
    <td>
      <${State} job=${job} />
      <${Outcome} job=${job} />
      ${job.state === "retrying" && html`<div class="below always">${t("job.nextAttempt")}: ${time(job.retry?.next_attempt_at)}</div>`}
    </td>
    <td class="number done"><${Progress} job=${job} /></td>
    <td class="result"><${Lines} job=${job} /></td>
    <td class="ended">${time(job.finished_at)}</td>
  </tr>`;
}

const JobTable = ({ items }) => html`<div class="table-frame">
  <table class="jobs" aria-label=${t("nav.jobs")}>
    <thead>
      <tr>
        <th scope="col" class="about">${t("jobs.about")}</th>
        <th scope="col" class="state">${t("jobs.state")}</th>
        <th scope="col" class="number done">${t("jobs.progress")}</th>
        <th scope="col" class="result">${t("jobs.result")}</th>
        <th scope="col" class="ended">${t("jobs.ended")}</th>
      </tr>
    </thead>
    <tbody>
      ${items.map((job) => html`<${Row} key=${job.job_id} job=${job} />`)}
    </tbody>
  </table>
</div>`;
