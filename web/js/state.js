// What the page knows beyond one view: who I am, what is selected, what is under way.
import { me, send, whoAmI } from "./api.js";
import { store, uuid } from "./lib.js";

export { me };

/** Selected secrets: id → name, or null where only the id is known. Never changed in place. */
export const selection = store(new Map());

/** The "select all" whose ids are under way, or null. Nothing is shared meanwhile: its number would change. */
export const selecting = store(null);

/** Shares on their way to the server, or refused by it. */
export const sending = store([]);

/** A share or an unshare that the server refused, and that the person wants to change; or null. */
export const reopened = store(null);

/**
 * Running jobs by id, notices with the newest first; whether the first snapshot has come (`ready`),
 * whether the stream is there, and a number that changes when views should read again (`news`).
 */
const NOTHING = { jobs: new Map(), notices: [], ready: false, connected: true, news: 0 };
export const live = store(NOTHING);

/** What a screen reader is told. */
export const spoken = store("");

export function say(text) {
  // The same words again are a new announcement.
  spoken.set((old) => (old === text ? `${text}\u00a0` : text));
}

let last = null;

/** Somebody is signed in. Nothing of one person may reach another. */
export function become(person) {
  if (person.id !== last) {
    last = person.id;
    clearSelection();
    sending.set([]);
    reopened.set(null);
    live.set(NOTHING);
  }
  if (JSON.stringify(person) !== JSON.stringify(me.get())) me.set(person);
}

/** Asks who is signed in. Returns the problem if that cannot be told. */
export async function signIn() {
  try {
    become(await whoAmI());
    return null;
  } catch (problem) {
    // While the server is away, whoever was there stays.
    if (problem.nobody || !me.get()?.id) me.set(problem);
    return problem;
  }
}

export function select(entries) {
  selection.set((old) => {
    const made = new Map(old);
    for (const [id, name] of entries) made.set(id, name ?? made.get(id) ?? null);
    return made;
  });
}

export function unselect(ids) {
  selection.set((old) => {
    const made = new Map(old);
    for (const id of ids) made.delete(id);
    return made;
  });
}

export function clearSelection() {
  selecting.set(null);
  selection.set(new Map());
}

const TERMINAL = ["completed", "completed_with_rejections", "failed", "cancelled"];
export const isTerminal = (state) => TERMINAL.includes(state);

/** The newer of two stands of a job, either perhaps unknown: events may come late and twice. */
export function newer(old, job) {
  if (!old || !job) return old ?? job;
  if (job.run !== old.run) return job.run > old.run ? job : old;
  if (isTerminal(old.state)) return old;
  return job.done_pairs < old.done_pairs && !isTerminal(job.state) ? old : job;
}

/** A job that was read, as the stream has it by now: the stream does not name its recipients and secrets. */
export function moved(job, now) {
  const latest = newer(job, now);
  const { first_recipients, first_secrets } = job;
  return latest === job ? job : { ...latest, first_recipients, first_secrets };
}

/** An undo that is known of marks the notice of what it undoes, which does not come again for it. */
function undone(notices, { job_id, kind, parent }) {
  const isNews = (one) => kind === "undo" && one.job_id === parent && one.undone_by !== job_id;
  return notices.some(isNews) ? notices.map((one) => (isNews(one) ? { ...one, undone_by: job_id } : one)) : notices;
}

/** A job has moved. */
export function jobMoved(job) {
  live.set((before) => {
    const notices = undone(before.notices, job);
    const old = notices === before.notices ? before : { ...before, notices };
    const told = old.notices.some((notice) => notice.job_id === job.job_id && notice.run >= job.run);
    const known = old.jobs.get(job.job_id);
    // A job that ended before the page knew of it has its say in a notice.
    if (told || (isTerminal(job.state) && !known)) return old;
    const jobs = new Map(old.jobs);
    jobs.set(job.job_id, newer(known, job));
    return { ...old, jobs, news: old.news + (known && !isTerminal(job.state) ? 0 : 1) };
  });
}

export function noticeCame(notice) {
  live.set((old) => {
    const jobs = new Map(old.jobs);
    if ((jobs.get(notice.job_id)?.run ?? 0) <= notice.run) jobs.delete(notice.job_id);
    const others = old.notices.filter((one) => one.id !== notice.id && one.job_id !== notice.job_id);
    const notices = [notice, ...undone(others, notice)].sort((a, b) => b.id - a.id);
    return { ...old, jobs, notices, news: old.news + 1 };
  });
}

/** Everything anew: jobs and notices that are not in it are over. */
export function snapshotCame({ jobs, notices }) {
  live.set((old) => {
    const known = new Map(jobs.map((job) => [job.job_id, newer(old.jobs.get(job.job_id), job)]));
    const sorted = [...notices].sort((a, b) => b.id - a.id);
    // What views read with the first snapshot is as new.
    return { jobs: known, notices: sorted, ready: true, connected: true, news: old.news + (old.ready ? 1 : 0) };
  });
  sendAgain();
}

/** The server is there: what it may not have got is sent again, under the same key. */
export function sendAgain() {
  for (const share of sending.get()) if (share.problem && !share.problem.refused) submit(share);
}

/** Tells the other tabs what was dismissed here: they need not wait until the stream looks again. */
const dismissed = new BroadcastChannel("batchshare.dismissed");
dismissed.addEventListener("message", ({ data }) => {
  if (data.person === me.get()?.id) putAway(data.ids);
});

function putAway(ids) {
  live.set((old) => ({ ...old, notices: old.notices.filter((one) => !ids.includes(one.id)) }));
}

export async function dismiss(notice) {
  putAway([notice.id]);
  try {
    await send("POST", `/notices/${notice.id}/dismiss`);
    dismissed.postMessage({ person: me.get()?.id, ids: [notice.id] });
  } catch (problem) {
    if (problem.status !== 404) noticeCame({ ...notice, problem });
  }
}

/** Dismisses all that are there, and none that comes meanwhile. */
export async function dismissAll() {
  const all = live.get().notices;
  const ids = all.map((notice) => notice.id);
  if (ids.length === 0) return;
  putAway(ids);
  try {
    await send("POST", `/notices/dismiss?until=${Math.max(...ids)}`);
    dismissed.postMessage({ person: me.get()?.id, ids });
  } catch (problem) {
    for (const notice of all) noticeCame({ ...notice, problem });
  }
}

/** A share or an unshare as the API takes it. */
export const asked = ({ secrets, recipients }) => ({
  secrets: { ids: [...secrets.keys()] },
  recipients: recipients.map(({ kind, id, permission }) => ({ kind, id, permission })),
});

/**
 * Sends a share, or an unshare where its `kind` says so. The person is free at once: what comes of it is told among the
 * notices. `share` has `secrets` (the selection) and `recipients`; sent again, its key makes a repeat harmless.
 */
export async function submit(share) {
  const sent = { key: uuid(), ...share, problem: null };
  const others = (all) => all.filter((one) => one.key !== sent.key);
  sending.set((all) => [sent, ...others(all)]);
  try {
    const path = sent.kind === "unshare" ? "/unshare-jobs" : "/share-jobs";
    const job = await send("POST", path, asked(sent), { "Idempotency-Key": sent.key });
    sending.set(others);
    jobMoved(job);
  } catch (problem) {
    sending.set((all) => [{ ...sent, problem }, ...others(all)]);
  }
}

/** Opens a refused share again, with its selection and its recipients. */
export function reopen(share) {
  forget(share);
  clearSelection();
  selection.set(share.secrets);
  reopened.set(share);
}

export const forget = (share) => sending.set((all) => all.filter((one) => one.key !== share.key));

// Whoever leaves while something is being sent, or was not, is asked first.
addEventListener("beforeunload", (event) => {
  if (sending.get().length > 0) event.preventDefault();
});
