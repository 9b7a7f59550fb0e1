// What jobs are called: the events do not name their recipients and secrets, so the names are read once for each job.
import { get } from "./api.js";
import { oneAtATime, store, useEffect, useRef } from "./lib.js";

/** The first recipients and secrets of jobs, by the job's id. */
export const titles = store(new Map());

/** So many are read at a time. */
const READ = 50;

/** Keeps what these jobs are called. */
function keep(jobs) {
  titles.set((old) => {
    const made = new Map(old);
    for (const { job_id, first_recipients, first_secrets } of jobs) {
      if (first_recipients) made.set(job_id, { first_recipients, first_secrets });
    }
    return made;
  });
}

/** One by itself, as it comes; many, as when the page is opened, together. */
async function read(ids) {
  if (ids.length === 1) {
    keep([await get(`/share-jobs/${ids[0]}`)]);
    return;
  }
  keep((await get("/share-jobs", { limit: READ })).items);
  if (ids.some((id) => !titles.get().has(id))) keep((await get("/notices", { limit: 2 * READ })).items);
}

/** Reads what these jobs and notices are called, where that is not known yet. Each is asked for once. */
export function useTitles(jobs, notices) {
  const asked = useRef(new Set());
  const wanted = useRef([]);
  const run = useRef(null);
  run.current ??= oneAtATime();
  const unknown = (id) => !titles.get().has(id) && !asked.current.has(id);
  wanted.current = [...jobs.keys(), ...notices.map((notice) => notice.job_id)].filter(unknown);
  useEffect(() => {
    run.current(async () => {
      const ids = wanted.current.filter(unknown);
      for (const id of ids) asked.current.add(id);
      // Where they cannot be read, jobs are called by their numbers, as they were.
      if (ids.length > 0) await read(ids).catch(() => {});
    });
  }, [wanted.current.join()]);
}
