// The stream of events: live progress and notices. Each connection begins with everything, so the page
// is right again after sleep, reload or a lost connection.
import { jobMoved, live, me, noticeCame, snapshotCame } from "./state.js";

const AGAIN_MS = [500, 1000, 2000, 5000];

let source = null;
let failures = 0;
let timer = 0;

function disconnect() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

function connect() {
  disconnect();
  if (!me.get()?.id) return;
  const mine = new EventSource("/api/v1/events");
  source = mine;
  const on = (name, act) =>
    mine.addEventListener(name, (event) => {
      if (mine === source) act(JSON.parse(event.data));
    });
  on("snapshot", (all) => {
    failures = 0;
    snapshotCame(all);
  });
  on("job", jobMoved);
  on("notice", noticeCame);
  mine.onerror = () => {
    if (mine !== source) return;
    // The browser's own tries stop at the first refusal; ours never do.
    disconnect();
    const wait = AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)];
    failures += 1;
    if (failures > 1) live.set((old) => ({ ...old, connected: false }));
    timer = setTimeout(connect, wait * (0.5 + Math.random()));
  };
}

/** Follows the events of whoever is signed in. */
export function startStream() {
  let person = null;
  me.follow(() => {
    const now = me.get()?.id ?? null;
    if (now === person) return;
    person = now;
    live.set({ jobs: new Map(), notices: [], connected: true });
    connect();
  });
  // After sleep a connection may look open and be dead.
  addEventListener("online", connect);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && source === null) connect();
  });
}
