// What the page knows beyond one view: who I am, what is selected, what is under way.
import { get, send } from "./api.js";
import { store, uuid } from "./lib.js";

/** Who I am, as `/me` says; null until known, or a Problem. */
export const me = store(null);

/** Selected secrets: id → name, or null where only the id is known. Never changed in place. */
export const selection = store(new Map());

/** Shares on their way to the server, or refused by it. */
export const sending = store([]);

/** The recipients of a share that the server refused, and that the person wants to change; or null. */
export const reopened = store(null);

/** Running jobs by id, notices with the newest first, and whether the stream is there. */
export const live = store({ jobs: new Map(), notices: [], connected: true });

/** What a screen reader is told. */
export const spoken = store("");

export function say(text) {
  // The same words again are a new announcement.
  spoken.set((old) => (old === text ? `${text}\u00a0` : text));
}

export async function signIn() {
  try {
    me.set(await get("/me"));
  } catch (problem) {
    me.set(problem);
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

export const clearSelection = () => selection.set(new Map());

const TERMINAL = ["completed", "completed_with_rejections", "failed", "cancelled"];
export const isTerminal = (state) => TERMINAL.includes(state);

/** The newer of two stands of a job: events may come late and twice. */
function newer(old, job) {
  if (!old || job.run > old.run) return job;
  if (job.run < old.run || isTerminal(old.state)) return old;
  return job.done_pairs < old.done_pairs && !isTerminal(job.state) ? old : job;
}

/** A job has moved. */
export function jobMoved(job) {
  live.set((old) => {
    const told = old.notices.some((notice) => notice.job_id === job.job_id && notice.run >= job.run);
    // A job that ended before the page knew of it has its say in a notice.
    if (told || (isTerminal(job.state) && !old.jobs.has(job.job_id))) return old;
    const jobs = new Map(old.jobs);
    jobs.set(job.job_id, newer(jobs.get(job.job_id), job));
    return { ...old, jobs };
  });
}

export function noticeCame(notice) {
  live.set((old) => {
    const jobs = new Map(old.jobs);
    if ((jobs.get(notice.job_id)?.run ?? 0) <= notice.run) jobs.delete(notice.job_id);
    const others = old.notices.filter((one) => one.id !== notice.id && one.job_id !== notice.job_id);
    return { ...old, jobs, notices: [notice, ...others].sort((a, b) => b.id - a.id) };
  });
}

/** Everything anew: jobs and notices that are not in it are over. */
export function snapshotCame({ jobs, notices }) {
  live.set((old) => {
    const known = new Map(jobs.map((job) => [job.job_id, newer(old.jobs.get(job.job_id), job)]));
    return { ...old, jobs: known, notices: [...notices].sort((a, b) => b.id - a.id), connected: true };
  });
}

export async function dismiss(notice) {
  live.set((old) => ({ ...old, notices: old.notices.filter((one) => one.id !== notice.id) }));
  try {
    await send("POST", `/notices/${notice.id}/dismiss`);
  } catch (problem) {
    if (problem.status !== 404) noticeCame(notice);
    throw problem;
  }
}

/**
 * Sends a share. The person is free at once: what comes of it is told among the notices. `share` has
 * `secrets` (the selection) and `recipients`; sent again, its key makes a repeat harmless.
 */
export async function submit(share) {
  const sent = { key: uuid(), ...share, problem: null };
  const others = (all) => all.filter((one) => one.key !== sent.key);
  sending.set((all) => [sent, ...others(all)]);
  try {
    const body = {
      secrets: { ids: [...sent.secrets.keys()] },
      recipients: sent.recipients.map(({ kind, id, permission }) => ({ kind, id, permission })),
    };
    const job = await send("POST", "/share-jobs", body, { "Idempotency-Key": sent.key });
    sending.set(others);
    jobMoved(job);
  } catch (problem) {
    sending.set((all) => [{ ...sent, problem }, ...others(all)]);
  }
}

/** Opens a refused share again, with its selection and its recipients. */
export function reopen(share) {
  forget(share);
  selection.set(share.secrets);
  reopened.set(share.recipients);
}

export const forget = (share) => sending.set((all) => all.filter((one) => one.key !== share.key));

// Whoever leaves while something is being sent, or was not, is asked first.
addEventListener("beforeunload", (event) => {
  if (sending.get().length > 0) event.preventDefault();
});
