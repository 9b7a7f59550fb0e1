// The region "Avisos": what is on its way, what is running, and what has ended.
import { html, useEffect, useRef, useState, useStore } from "./lib.js";
import { get } from "./api.js";
import { Cancel, Undo } from "./control.js";
import { number, problemText, t, time } from "./i18n.js";
import { dismiss, dismissAll, forget, isTerminal, live, reopen, say, selection, sending, submit } from "./state.js";
import { titles, useTitles } from "./titles.js";
import { told } from "./toasts.js";
import { Confirm, Icon, IconButton } from "./ui.js";
import { isUndoable, linesOf, nameOf, of, titleOf, toneOf, TONES, whatOf } from "./words.js";

export function Notices() {
  const { jobs, notices, ready } = useStore(live);
  const shares = useStore(sending);
  const called = useStore(titles);
  const [open, setOpen] = useState(false);
  const named = (about) => ({ ...about, ...called.get(about.job_id) });
  const cards = [
    ...shares.map((share) => html`<${Sending} key=${share.key} share=${share} />`),
    ...[...jobs.values()].map((job) => html`<${Running} key=${job.job_id} job=${named(job)} />`),
    ...notices.map((notice) => html`<${Notice} key=${`notice ${notice.id}`} notice=${named(notice)} />`),
  ];
  useNews(notices, ready);
  useTitles(jobs, notices);
  // Only narrow windows fold the region; see style.css.
  return html`<section class=${`notices${open ? " open" : ""}${cards.length === 0 ? " none" : ""}`} aria-label=${t("notices")}>
    <header>
      <h2>${t("notices")}${cards.length > 0 && html` <span class="count">${number(cards.length)}</span>`}</h2>
      <${Newest} shares=${shares} jobs=${jobs} notices=${notices} />
      ${notices.length > 1 && html`<button type="button" class="plain small all" onClick=${dismissAll}>${t("notices.dismissAll")}</button>`}
      <span class="fold">
        <${IconButton} icon=${open ? "down" : "up"} label=${t(open ? "notices.hide" : "notices.show")} aria-expanded=${open} onClick=${() => setOpen(!open)} />
      </span>
    </header>
    ${cards.length === 0 ? html`<p class="quiet">${t("notices.none")}</p>` : html`<div class="cards" tabindex="0" role="group" aria-label=${t("notices")}>${cards}</div>`}
  </section>`;
}

/** The newest of all in a few words, for a window too narrow for cards. */
function Newest({ shares: [share], jobs, notices: [notice] }) {
  const [job] = jobs.values();
  if (share) return html`<${Line} tone=${sendingTone(share)}>${sendingTitle(share)}<//>`;
  if (job) return html`<${Line}>${cardTitle(job)}${job.state === "running" && job.pairs !== null && `: ${progressOf(job)}`}<//>`;
  return notice ? html`<${Line} tone=${toneOf(notice)}>${titleOf(notice)}<//>` : null;
}

const Line = ({ tone, children }) =>
  html`<span class=${`newest ${tone ?? ""}`}>${tone && html`<${Icon} name=${TONES[tone]} />`}<span>${children}</span></span>`;

/** Tells a screen reader of notices that come while the page is open: not of those that were there. */
function useNews(notices, ready) {
  const known = useRef(null);
  const last = notices[0]?.id ?? 0;
  useEffect(() => {
    if (!ready) return;
    if (known.current !== null && last > known.current) {
      const fresh = notices.filter((notice) => notice.id > known.current);
      say(fresh.map((notice) => [titleOf(notice), ...linesOf(notice)].join(". ")).join(". "));
      for (const notice of [...fresh].reverse()) told({ tone: toneOf(notice), title: titleOf(notice), lines: linesOf(notice), once: "wide" });
    }
    known.current = Math.max(last, known.current ?? 0);
  }, [last, ready]);
}

function sendingTitle(share) {
  if (!share.problem) return t("sending.title");
  return t(of(share, share.problem.refused ? "sending.failed" : "sending.unsure"));
}

const sendingTone = ({ problem }) => problem && (problem.refused ? "failed" : "partial");

function Sending({ share }) {
  const [asking, setAsking] = useState(false);
  const { problem } = share;
  const { kind, recipients } = share;
  const what = whatOf({ kind, secrets: share.secrets.size, recipients: recipients.length, first_recipients: recipients.slice(0, 3) });
  if (!problem) return html`<article class="card"><h3>${sendingTitle(share)}</h3><p>${what}</p></article>`;
  // What was selected meanwhile is not thrown away without a word.
  const back = () => (selection.get().size > 0 ? setAsking(true) : reopen(share));
  const tone = sendingTone(share);
  return html`<article class=${`card ${tone}`}>
    <div role="alert">
      <h3><${Icon} name=${TONES[tone]} />${sendingTitle(share)}</h3>
      <p>${what}.${problem.refused && ` ${problemText(problem)}`}</p>
      <p>${t(of(share, problem.refused ? "sending.failed.help" : "sending.unsure.help"))}</p>
    </div>
    <div class="card-actions">
      ${problem.refused && html`<button type="button" class="primary" onClick=${back}>${t("sending.reopen")}</button>`}
      ${!problem.hopeless &&
      html`<button type="button" class=${problem.refused ? "" : "primary"} onClick=${() => submit(share)}>${t("app.retry")}</button>`}
      <button type="button" onClick=${() => forget(share)}>${t(problem.refused ? "sending.discard" : "sending.giveUp")}</button>
    </div>
    ${asking &&
    html`<${Confirm} title=${t("sending.reopen")} onNo=${() => setAsking(false)} onYes=${() => reopen(share)}>
      ${t("sending.replace", { n: selection.get().size })}
    <//>`}
  </article>`;
}

const progressOf = ({ done_pairs: done, pairs }) => t("card.progress", { done, pairs });

const cardTitle = (job) => {
  if (isTerminal(job.state)) return t("card.ending");
  return t(job.state === "running" ? of(job, "card.running") : `card.${job.state}`);
};

/** Pairs done of all, as the database has them: no movement that is not real. */
function Running({ job }) {
  const known = job.pairs !== null;
  return html`<article class="card">
    <h3><a href=${`#/jobs/${job.job_id}`}>${cardTitle(job)}</a></h3>
    <p>${whatOf(job)}</p>
    <progress aria-label=${t(of(job, "card.progress.name"))} max=${known ? job.pairs : 1} value=${known ? job.done_pairs : 0}></progress>
    <p class="figures">${known ? progressOf(job) : t("state.queued")}</p>
    ${job.state === "retrying" && html`<p>${t("card.retryAt", { time: time(job.retry?.next_attempt_at) })}</p>`}
    ${!isTerminal(job.state) && html`<div class="card-actions"><${Cancel} job=${job} /></div>`}
  </article>`;
}

function Notice({ notice }) {
  const tone = toneOf(notice);
  return html`<article class=${`card ${tone}`}>
    <h3><${Icon} name=${TONES[tone]} />${titleOf(notice)}</h3>
    <${IconButton} icon="close" label=${t("notices.dismiss")} onClick=${() => dismiss(notice)} />
    ${notice.problem && html`<p class="refused" role="alert">${t("notices.notDismissed")} ${problemText(notice.problem)}</p>`}
    <p>${whatOf(notice)}</p>
    <ul>
      ${linesOf(notice).map((line) => html`<li key=${line}>${line}</li>`)}
    </ul>
    ${notice.rejections_total > 0 && html`<${Rejected} notice=${notice} />`}
    <p class="figures">
      <a href=${`#/jobs/${notice.job_id}`}>${t("notices.details")}</a>
      <time dateTime=${notice.created_at}>${time(notice.created_at)}</time>
    </p>
    ${notice.undone_by && html`<p><a href=${`#/jobs/${notice.undone_by}`}>${t("notice.undone")}</a></p>`}
    ${isUndoable(notice) && !notice.undone_by && html`<div class="card-actions"><${Undo} job=${notice} /></div>`}
  </article>`;
}

const NAMED = 3;

/** The first that were left out, by name and with the reason; read when they are looked at, with their place kept. */
function Rejected({ notice }) {
  const [items, setItems] = useState(null);
  const list = useRef();
  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      seen.disconnect();
      const read = get(`/share-jobs/${notice.job_id}/rejections`, { limit: NAMED });
      read.then((page) => setItems(page.items), () => {}); // the details have them all
    });
    seen.observe(list.current);
    return () => seen.disconnect();
  }, [notice.id]);
  const named = Math.min(NAMED, notice.rejections_total);
  const more = notice.rejections_total - named;
  return html`<ul class="rejected" ref=${list}>
    ${items?.map((one) => html`<li key=${`${one.kind} ${one.id}`}><strong>${nameOf(one)}</strong>: ${t(`reason.${one.reason}`)}</li>`) ??
    Array.from({ length: named }, (_, row) => html`<li key=${row}>…</li>`)}
    ${more > 0 && html`<li>${t("notices.moreRejected", { n: more })}</li>`}
  </ul>`;
}
