// My jobs, and one of them.
import { html, useCallback, useEffect, useState, useStore } from "./lib.js";
import { get } from "./api.js";
import { number, t, time } from "./i18n.js";
import { live } from "./state.js";
import { Empty, Heading, Icon, Pill, Trouble } from "./ui.js";
import { linesOf, nameOf, titleOf, toneOf } from "./notices.js";
import { isTerminal } from "./state.js";

const COUNTS = ["granted", "upgraded", "unchanged", "rejected"];

const State = ({ state }) =>
  html`<${Pill} kind=${isTerminal(state) ? toneOf({ state }) : "busy"}>${t(`state.${state}`)}<//>`;

const progress = (job) => (job.pairs === null ? "–" : `${number(job.done_pairs)} / ${number(job.pairs)}`);

export function Jobs() {
  const [page, setPage] = useState({ items: null, next: null, problem: null });
  const { jobs, notices } = useStore(live);
  const read = useCallback(async (cursor) => {
    try {
      const found = await get("/share-jobs", { cursor });
      setPage((old) => ({
        items: cursor ? [...old.items, ...found.items] : found.items,
        next: found.next_cursor,
        problem: null,
      }));
    } catch (problem) {
      setPage((old) => ({ ...old, problem }));
    }
  }, []);
  // Known jobs move by the stream; one that begins or ends is read.
  useEffect(() => void read(null), [notices[0]?.id, jobs.size]);
  const items = page.items?.map((job) => jobs.get(job.job_id) ?? job);
  return html`<${Heading}>${t("nav.jobs")}<//>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${() => read(null)} />`}
    ${!items && !page.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${items?.length === 0 &&
    html`<${Empty} title=${t("jobs.none")} help=${t("jobs.none.help")}><a class="button" href="#/secrets">${t("jobs.go")}</a><//>`}
    ${items?.length > 0 && html`<${JobTable} items=${items} />`}
    ${page.next && html`<button type="button" onClick=${() => read(page.next)}>${t("app.more")}</button>`}`;
}

const JobTable = ({ items }) => html`<div class="table-frame">
  <table class="jobs">
    <thead>
      <tr>
        <th scope="col">${t("jobs.when")}</th>
        <th scope="col">${t("jobs.state")}</th>
        <th scope="col" class="number">${t("jobs.progress")}</th>
        ${COUNTS.map((outcome) => html`<th key=${outcome} scope="col" class=${`number ${outcome}`}>${t(`jobs.${outcome}`)}</th>`)}
        <th scope="col" class="ended">${t("jobs.ended")}</th>
      </tr>
    </thead>
    <tbody>
      ${items.map(
        (job) => html`<tr key=${job.job_id}>
          <td><a href=${`#/jobs/${job.job_id}`} aria-label=${t("jobs.open", { time: time(job.requested_at) })}>${time(job.requested_at)}</a></td>
          <td>
            <${State} state=${job.state} />
            ${job.state === "retrying" && html`<div class="below always">${t("job.nextAttempt")}: ${time(job.retry?.next_attempt_at)}</div>`}
          </td>
          <td class="number">
            ${progress(job)}
            ${job.counts.rejected > 0 && html`<div class="below">${t("count.rejected", { n: job.counts.rejected })}</div>`}
          </td>
          ${COUNTS.map((outcome) => html`<td key=${outcome} class=${`number ${outcome}`}>${number(job.counts[outcome])}</td>`)}
          <td class="ended">${time(job.finished_at)}</td>
        </tr>`,
      )}
    </tbody>
  </table>
</div>`;

export function Job({ id }) {
  const [found, setFound] = useState({ job: null, problem: null });
  const { jobs, notices } = useStore(live);
  const mine = notices.find((notice) => notice.job_id === id);
  const read = async () => {
    try {
      setFound({ job: await get(`/share-jobs/${id}`), problem: null });
    } catch (problem) {
      setFound((old) => ({ ...old, problem }));
    }
  };
  // Read again when it ends or runs anew.
  useEffect(() => void read(), [id, mine?.id, jobs.has(id)]);
  const job = jobs.get(id) ?? found.job;
  return html`<a class="back" href="#/jobs"><${Icon} name="back" />${t("nav.jobs")}</a>
    <${Heading}>${t("job.title")}<//>
    ${found.problem &&
    (found.problem.status === 404
      ? html`<${Empty} title=${t("job.foreign")} />`
      : html`<${Trouble} problem=${found.problem} again=${read} />`)}
    ${!job && !found.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${job && html`<${JobDetail} job=${job} />`}`;
}

function JobDetail({ job }) {
  const over = isTerminal(job.state);
  const fact = (key, value) => html`<div><dt>${t(key)}</dt><dd>${value}</dd></div>`;
  return html`<p class="job-head"><${State} state=${job.state} />${over && html`<strong>${titleOf(job)}</strong>`}</p>
    ${!over && html`<progress aria-label=${t("card.progress.name")} max=${job.pairs ?? 1} value=${job.pairs === null ? 0 : job.done_pairs}></progress>`}
    <ul class="outcome">
      ${linesOf(over ? job : { ...job, pairs: null, reason: null }).map((line) => html`<li key=${line}>${line}</li>`)}
    </ul>
    <dl class="facts">
      ${fact("jobs.progress", progress(job))} ${fact("jobs.when", time(job.requested_at))}
      ${fact("job.started", time(job.started_at))} ${fact("jobs.ended", time(job.finished_at))}
      ${fact("job.attempts", number(job.attempts))} ${job.run > 1 && fact("job.run", number(job.run))}
      ${job.retry?.next_attempt_at && fact("job.nextAttempt", time(job.retry.next_attempt_at))}
      ${job.retry?.last_error && fact("job.lastError", job.retry.last_error)} ${fact("job.id", html`<code>${job.job_id}</code>`)}
    </dl>
    <h2>${t("job.rejections")}</h2>
    <${Rejections} id=${job.job_id} total=${job.rejections_total} />`;
}

function Rejections({ id, total }) {
  const [page, setPage] = useState({ items: [], next: null, problem: null });
  const read = async (cursor) => {
    try {
      const found = await get(`/share-jobs/${id}/rejections`, { cursor });
      setPage((old) => ({ items: cursor ? [...old.items, ...found.items] : found.items, next: found.next_cursor, problem: null }));
    } catch (problem) {
      setPage((old) => ({ ...old, problem }));
    }
  };
  useEffect(() => void read(null), [id, total]);
  if (page.problem) return html`<${Trouble} problem=${page.problem} again=${() => read(null)} />`;
  if (page.items.length === 0) return html`<p class="quiet">${t("job.rejections.none")}</p>`;
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
              <td class="kind">${t(`kind.${one.recipient_kind ?? one.kind}`)}</td>
              <td>${t(`reason.${one.reason}`)}</td>
              <td class="number">${number(one.pairs)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${page.next && html`<button type="button" onClick=${() => read(page.next)}>${t("app.more")}</button>`}`;
}
