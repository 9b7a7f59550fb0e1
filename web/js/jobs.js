// My jobs, and one of them.
import { html, oneAtATime, useEffect, useRef, useState, useStore } from "./lib.js";
import { get } from "./api.js";
import { number, t, time } from "./i18n.js";
import { useListing } from "./listing.js";
import { isTerminal, live, newer } from "./state.js";
import { Empty, Heading, Icon, Missing, Pill, ToSecrets, Trouble } from "./ui.js";
import { kindOf, linesOf, nameOf, of, toneOf, whatOf } from "./notices.js";

const COUNTS = ["granted", "upgraded", "unchanged", "rejected"];

const State = ({ state }) =>
  html`<${Pill} kind=${isTerminal(state) ? toneOf({ state }) : "busy"}>${t(`state.${state}`)}<//>`;

function progress({ done_pairs: done, pairs }) {
  if (pairs === null) return "–";
  return done === pairs ? number(pairs) : `${number(done)} / ${number(pairs)}`;
}

export function Jobs() {
  const { jobs, news } = useStore(live);
  // Known jobs move by the stream; one that begins or ends is read.
  const page = useListing("/share-jobs", [news]);
  const items = page.items?.map((job) => newer(job, jobs.get(job.job_id)));
  return html`<${Heading}>${t("nav.jobs")}<//>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${page.again} />`}
    ${!items && !page.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${items?.length === 0 &&
    html`<${Empty} title=${t("jobs.none")} help=${t("jobs.none.help")}><${ToSecrets} /><//>`}
    ${items?.length > 0 && html`<${JobTable} items=${items} />`}
    ${page.next && html`<button type="button" onClick=${page.more}>${t("app.more")}</button>`}`;
}

/** How far it is and what happened, below the state, for a window too narrow for a column each. */
function Outcome({ job }) {
  const { done_pairs: done, pairs } = job;
  const line = (text) => html`<span key=${text}>${text}</span>`;
  return html`<div class="below outcomes">
    ${!isTerminal(job.state) && pairs !== null && html`<span class="far">${t("card.progress", { done, pairs })}</span>`}
    ${linesOf({ ...job, pairs: null, reason: null, state: null }).map(line)}
  </div>`;
}

const JobTable = ({ items }) => html`<div class="table-frame">
  <table class="jobs">
    <thead>
      <tr>
        <th scope="col" class="when">${t("jobs.when")}</th>
        <th scope="col" class="state">${t("jobs.state")}</th>
        <th scope="col" class="number whole">${t("jobs.progress")}</th>
        ${COUNTS.map((outcome) => html`<th key=${outcome} scope="col" class=${`number ${outcome}`}>${t(`jobs.${outcome}`)}</th>`)}
        <th scope="col" class="ended">${t("jobs.ended")}</th>
      </tr>
    </thead>
    <tbody>
      ${items.map(
        (job) => html`<tr key=${job.job_id}>
          <td><a href=${`#/jobs/${job.job_id}`} aria-label=${t("jobs.open", { time: time(job.requested_at) })}>${time(job.requested_at)}</a>
            <div class="below always">${whatOf(job.secrets, job.recipients)}</div></td>
          <td>
            <${State} state=${job.state} />
            <${Outcome} job=${job} />
            ${job.state === "retrying" && html`<div class="below always">${t("job.nextAttempt")}: ${time(job.retry?.next_attempt_at)}</div>`}
          </td>
          <td class="number whole">${progress(job)}</td>
          ${COUNTS.map((outcome) => html`<td key=${outcome} class=${`number ${outcome}`}>${outcome in job.counts ? number(job.counts[outcome]) : "–"}</td>`)}
          <td class="ended">${time(job.finished_at)}</td>
        </tr>`,
      )}
    </tbody>
  </table>
</div>`;

export function Job({ id }) {
  const [found, setFound] = useState({ job: null, problem: null });
  const { jobs, news } = useStore(live);
  const run = useRef(null);
  run.current ??= oneAtATime();
  const read = () =>
    run.current(async (isLatest) => {
      try {
        const job = await get(`/share-jobs/${id}`);
        if (isLatest()) setFound({ job, problem: null });
      } catch (problem) {
        if (isLatest()) setFound((old) => ({ ...old, problem }));
      }
    });
  // It moves by the stream, and is read again when it may have ended or run anew.
  useEffect(() => void read(), [id, news]);
  const job = newer(found.job, jobs.get(id));
  const back = html`<a class="back" href="#/jobs"><${Icon} name="back" />${t("nav.jobs")}</a>`;
  if (found.problem?.status === 404) return html`${back}<${Missing} title=${t("app.missing")} help=${t("job.foreign")} />`;
  return html`${back}
    <${Heading}>${t(of(job ?? {}, "job.title"))}<//>
    ${found.problem && html`<${Trouble} problem=${found.problem} again=${read} />`}
    ${!job && !found.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${job && html`<${JobDetail} job=${job} />`}`;
}

function JobDetail({ job }) {
  const over = isTerminal(job.state);
  const fact = (key, value) => html`<div><dt>${t(key)}</dt><dd>${value}</dd></div>`;
  return html`<p class="job-head"><${State} state=${job.state} /><span>${whatOf(job.secrets, job.recipients)}</span></p>
    ${!over && html`<progress aria-label=${t(of(job, "card.progress.name"))} max=${job.pairs ?? 1} value=${job.pairs === null ? 0 : job.done_pairs}></progress>`}
    <ul class="outcome">
      ${linesOf(over ? job : { ...job, pairs: null, reason: null }).map((line) => html`<li key=${line}>${line}</li>`)}
    </ul>
    <dl class="facts">
      ${fact("jobs.progress", progress(job))} ${fact("jobs.when", time(job.requested_at))}
      ${fact("job.started", time(job.started_at))} ${fact("jobs.ended", time(job.finished_at))}
      ${fact("job.attempts", number(job.attempts))} ${job.run > 1 && fact("job.run", number(job.run))}
      ${job.retry?.next_attempt_at && fact("job.nextAttempt", time(job.retry.next_attempt_at))}
      ${job.retry && fact("job.lastFailure", t(`retry.${job.retry.reason}`))} ${fact("job.id", html`<code>${job.job_id}</code>`)}
    </dl>
    <h2>${t(of(job, "job.rejections"))}</h2>
    <${Rejections} job=${job} />`;
}

function Rejections({ job }) {
  const page = useListing(`/share-jobs/${job.job_id}/rejections`, [job.rejections_total, job.state]);
  if (page.problem) return html`<${Trouble} problem=${page.problem} again=${page.again} />`;
  if (page.items === null) return html`<p class="quiet">${t("app.loading")}</p>`;
  // A job that has not ended, or that failed on the way, may have left out what nobody has looked at.
  if (page.items.length === 0) return html`<p class="quiet">${t(job.state === "completed" ? "job.rejections.none" : "job.rejections.noneYet")}</p>`;
  return html`<div class="table-frame">
      <table class="rejections">
        <thead>
          <tr>
            <th scope="col">${t("job.what")}</th>
            <th scope="col" class="kind">${t("job.kind")}</th>
            <th scope="col">${t("job.reason")}</th>
            <th scope="col" class="number">${t("job.lost")}</th>
          </tr>
        </thead>
        <tbody>
          ${page.items.map(
            (one) => html`<tr key=${`${one.kind} ${one.recipient_kind} ${one.id}`}>
              <td>${nameOf(one)}</td>
              <td class="kind">${kindOf(one)}</td>
              <td class="reason">${t(`reason.${one.reason}`)}</td>
              <td class="number">${number(one.pairs)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${page.next && html`<button type="button" onClick=${page.more}>${t("app.more")}</button>`}`;
}
