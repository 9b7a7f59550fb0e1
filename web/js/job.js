// The record of one share, undo or unshare: what it is about, what became of it, and what can be done about it.
import { html, oneAtATime, useEffect, useRef, useState, useStore } from "./lib.js";
import { get } from "./api.js";
import { Cancel, Export, Rest, Undo } from "./control.js";
import { number, shown, t, time } from "./i18n.js";
import { Progress, State } from "./jobs.js";
import { AccessLeft } from "./left.js";
import { useListing } from "./listing.js";
import { isTerminal, live, moved } from "./state.js";
import { Heading, Icon, Missing, Trouble } from "./ui.js";
import { countsOf, countText, isUndoable, kindOf, leftOf, nameOf, namesOf, notesOf, of, whatOf } from "./words.js";

/** A job by its id, read again when it may have ended, and moved by the stream meanwhile. Null where there is no id. */
function useJob(id) {
  const [found, setFound] = useState({ job: null, problem: null });
  const { jobs, news } = useStore(live);
  const run = useRef(null);
  run.current ??= oneAtATime();
  const read = () =>
    run.current(async (isLatest) => {
      try {
        const job = id && (await get(`/share-jobs/${id}`));
        if (isLatest()) setFound({ job, problem: null });
      } catch (problem) {
        if (isLatest()) setFound((old) => ({ ...old, problem }));
      }
    });
  useEffect(() => void read(), [id, news]);
  const { job } = found;
  return { ...found, job: job && moved(job, jobs.get(id)), read };
}

export function Job({ id }) {
  const { job, problem, read } = useJob(id);
  const back = html`<a class="back" href="#/jobs"><${Icon} name="back" />${t("nav.jobs")}</a>`;
  if (problem?.status === 404) return html`${back}<${Missing} title=${t("app.missing")} help=${t("job.foreign")} />`;
  const kind = t(of(job ?? {}, "job.title"));
  const title = job && whatOf(job);
  return html`${back}
    <${Heading}>${title || kind}<//>
    ${problem && html`<${Trouble} problem=${problem} again=${read} />`}
    ${!job && !problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${job && html`<${JobDetail} job=${job} kind=${title ? kind : null} />`}`;
}

function JobDetail({ job, kind }) {
  const over = isTerminal(job.state);
  const undo = useJob(job.undone_by ?? null).job;
  const names = namesOf(job);
  return html`
    ${names && html`<p class="quiet">${names}</p>`}
    <p class="job-head">
      <${State} job=${job} />
      ${kind && html`<span>${kind}</span>`}
      <span class="quiet">${t("jobs.when")}: ${time(job.requested_at)}</span>
      ${over && html`<span class="quiet">${t("jobs.ended")}: ${time(job.finished_at)}</span>`}
    </p>
    ${job.note && html`<blockquote>${shown(job.note)}</blockquote>`}
    ${job.parent && html`<p><a href=${`#/jobs/${job.parent}`}>${t(of(job, "job.parent"))}</a></p>`}
    ${undo && html`<p class="undone">${t(undoneText(undo))} <a href=${`#/jobs/${undo.job_id}`}>${t("job.undone.see")}</a></p>`}
    ${job.ended_by === "operator" && html`<p>${t("job.endedByOperator")}</p>`}
    <${Retry} job=${job} />
    ${over
      ? html`<${OutcomeBar} job=${job} />`
      : html`<progress aria-label=${t(of(job, "card.progress.name"))} max=${job.pairs ?? 1} value=${job.pairs === null ? 0 : job.done_pairs}></progress>
          <p class="figures"><span><${Progress} job=${job} /></span></p>`}
    <${Counts} job=${over ? job : { ...job, pairs: null, reason: null, state: null }} />
    <div class="actions">
      ${!over && html`<${Cancel} job=${job} />`}
      ${isUndoable(job) && mayUndo(job, undo) && html`<${Undo} job=${job} />`}
      ${leftOf(job) > 0 && html`<${Rest} job=${job} />`}
      ${over && html`<${Export} job=${job} />`}
    </div>
    <h2>${t(of(job, "job.rejections"))}</h2>
    <${Rejections} job=${job} />
    ${over && job.kind !== "share" && html`<${AccessLeft} job=${job} />`}
    <${Recipients} job=${job} />
    <${Secrets} job=${job} />
    <${Technical} job=${job} />`;
}

/** How an undo stands, as the job that it undoes says it. */
function undoneText({ state }) {
  if (!isTerminal(state)) return "job.undone.running";
  return state === "completed" ? "job.undone" : `job.undone.${state}`;
}

/** Another undo may follow one that has not taken everything back. */
const mayUndo = (job, undo) => !job.undone_by || (undo !== null && isTerminal(undo.state) && undo.state !== "completed");

const Retry = ({ job: { retry } }) =>
  retry &&
  html`<p class="retry">
    ${t("job.lastFailure")}: ${t(`retry.${retry.reason}`)}
    ${retry.next_attempt_at && html` ${t("job.nextAttempt")}: ${time(retry.next_attempt_at)}.`}
  </p>`;

const WIDE = 1_000;

/** How much of it had each outcome, as a picture of the counts below it. */
function OutcomeBar({ job }) {
  const counts = countsOf(job);
  const all = counts.reduce((sum, [, n]) => sum + n, 0);
  if (all === 0) return null;
  let x = 0;
  return html`<svg class="bar" viewBox=${`0 0 ${WIDE} 10`} preserveAspectRatio="none" role="img" aria-label=${t("job.bar")}>
    ${counts.map(([outcome, n]) => {
      // What is there is seen, however little it is of the whole.
      const width = Math.max((n / all) * WIDE, 4);
      const part = html`<rect key=${outcome} class=${outcome} x=${Math.min(x, WIDE - 4)} y="0" width=${width} height="10" />`;
      x += width;
      return part;
    })}
  </svg>`;
}

const Counts = ({ job }) => html`<ul class="outcome">
  ${countsOf(job).map(([outcome, n]) => html`<li key=${outcome}><span class=${`dot ${outcome}`}></span>${countText(job, outcome, n)}</li>`)}
  ${notesOf(job).map((line) => html`<li key=${line}>${line}</li>`)}
</ul>`;

function Rejections({ job }) {
  const page = useListing(`/share-jobs/${job.job_id}/rejections`, [job.rejections_total, job.state]);
  if (page.problem) return html`<${Trouble} problem=${page.problem} again=${page.again} />`;
  if (page.items === null) return html`<p class="quiet">${t("app.loading")}</p>`;
  // A job that has not ended, or that failed on the way, may have left out what nobody has looked at.
  if (page.items.length === 0) return html`<p class="quiet">${t(job.state === "completed" ? "job.rejections.none" : "job.rejections.noneYet")}</p>`;
  return html`<div class="table-frame">
      <table class="rejections" aria-label=${t(of(job, "job.rejections"))}>
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
              <th scope="row">${nameOf(one)}</th>
              <td class="kind">${kindOf(one)}</td>
              <td class="reason">${t(`reason.${one.reason}`)}</td>
              <td class="number">${number(one.pairs)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <${More} page=${page} />`;
}

const More = ({ page }) => page.next && html`<button type="button" class="more" onClick=${page.more}>${t("app.more")}</button>`;

/** What became of the pairs of one line. */
const resultOf = ({ counts }) =>
  countsOf({ kind: "share", counts, pairs: null, done_pairs: 0 }).map(([outcome, n]) => t(`line.${outcome}`, { n })).join(", ");

/** A list of the job with what became of each line, which is told once the job has ended, and only where it is known. */
function Part({ job, list, title, className, columns }) {
  const over = isTerminal(job.state);
  const page = useListing(`/share-jobs/${job.job_id}/${list}`, [job.job_id, job.run, over]);
  const results = over && page.items?.some((one) => one.counts);
  return html`<h2>${title}</h2>
    ${page.problem && html`<${Trouble} problem=${page.problem} again=${page.again} />`}
    ${page.items === null && !page.problem && html`<p class="quiet">${t("app.loading")}</p>`}
    ${page.items?.length === 0 && html`<p class="quiet">${t("job.part.none")}</p>`}
    ${page.items?.length > 0 &&
    html`<div class="table-frame">
      <table class=${className} aria-label=${title}>
        <thead>
          <tr>
            ${columns.map(([key, text]) => html`<th key=${key} scope="col" class=${key}>${t(text)}</th>`)}
            ${results && html`<th scope="col" class="result">${t("jobs.result")}</th>`}
          </tr>
        </thead>
        <tbody>
          ${page.items.map(
            (one) => html`<tr key=${`${one.kind} ${one.id}`}>
              ${columns.map(([key, , cell], place) =>
                place === 0 ? html`<th key=${key} scope="row">${cell(one)}</th>` : html`<td key=${key} class=${key}>${cell(one)}</td>`,
              )}
              ${results && html`<td class="result">${one.counts ? resultOf(one) : "–"}</td>`}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
    <${More} page=${page} />`;
}

function Recipients({ job }) {
  const permission = job.kind === "unshare" ? "taken" : "permission";
  const columns = [
    ["who", "secret.who", (one) => html`${nameOf(one)}<div class="below">${kindOf(one)}</div>`],
    ["kind", "job.kind", kindOf],
    ["permission", job.kind === "unshare" ? "job.taken" : "secrets.permission", (one) => t(`${permission}.${one.permission}`)],
  ];
  const title = t(of(job, "job.recipients"), { n: job.recipients ?? 0 });
  return html`<${Part} job=${job} list="recipients" title=${title} className="parts" columns=${columns} />`;
}

function Secrets({ job }) {
  const secret = (one) => {
    const name = nameOf({ ...one, kind: "secret" });
    return one.name ? html`<a href=${`#/secrets/${one.id}`}>${name}</a>` : name;
  };
  const columns = [["name", "secrets.name", secret]];
  const title = job.secrets === null ? t("job.secrets.yet") : t("job.secrets", { n: job.secrets });
  return html`<${Part} job=${job} list="secrets" title=${title} className="parts" columns=${columns} />`;
}

/** What only a support desk asks for. */
function Technical({ job }) {
  const fact = (key, value) => html`<div><dt>${t(key)}</dt><dd>${value}</dd></div>`;
  return html`<details class="technical">
    <summary>${t("job.technical")}</summary>
    <dl class="facts">
      ${fact("job.id", html`<code>${job.job_id}</code>`)} ${fact("job.started", time(job.started_at))}
      ${fact("jobs.progress", html`<${Progress} job=${job} />`)} ${fact("job.attempts", number(job.attempts))}
      ${fact("job.run", number(job.run))}
    </dl>
  </details>`;
}
