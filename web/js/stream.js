// The stream of events: live progress and notices. Each connection begins with everything, so the page
// is right again after sleep, reload or a lost connection.
import { become, jobMoved, live, me, noticeCame, sendAgain, signIn, snapshotCame } from "./state.js";

const AGAIN_MS = [500, 1000, 2000, 5000];

/** A stream that says nothing for so long is dead: the server's beat comes every 15 s. */
const SILENCE_MS = 40_000;
const LOOK_MS = 5_000;

/** A tab that nobody sees gives its connection back: browsers have six for all tabs of a page. */
const HIDDEN_MS = 5_000;

let source = null;
/** Whose stream it is. */
let whose = null;
let heard = 0;
let failures = 0;
let again = 0;
let hiding = 0;
/** Counts the connections that were begun or ended: one that was overtaken goes no further. */
let turn = 0;

function disconnect() {
  clearTimeout(again);
  source?.close();
  source = null;
  turn += 1;
}

/** Asks who is signed in, and follows that person's events; tries again for ever, unless nobody is. */
export async function connect() {
  disconnect();
  const mine = turn;
  const problem = await signIn();
  if (mine !== turn) return;
  if (problem === null) open();
  else if (!problem.nobody) later();
}

function later() {
  const wait = AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)];
  failures += 1;
  if (failures > 1) live.set((old) => ({ ...old, connected: false }));
  again = setTimeout(connect, wait * (0.5 + Math.random()));
}

function open() {
  const stream = new EventSource("api/v1/events");
  source = stream;
  whose = me.get().id;
  heard = performance.now();
  const on = (name, act) =>
    stream.addEventListener(name, (event) => {
      if (stream !== source) return;
      heard = performance.now();
      act(JSON.parse(event.data));
    });
  on("snapshot", (all) => {
    failures = 0;
    whose = all.me.id;
    become(all.me);
    snapshotCame(all);
  });
  on("job", jobMoved);
  on("notice", noticeCame);
  on("beat", sendAgain);
  stream.onerror = () => {
    if (stream !== source) return;
    // The browser's own tries stop at the first refusal; ours never do.
    disconnect();
    later();
  };
}

const isSilent = () => performance.now() - heard > SILENCE_MS;

/** Somebody looks at the page again: is the stream alive, and are they still who they were? */
async function wake() {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(disconnect, HIDDEN_MS);
  else if (source === null || isSilent()) connect();
  else {
    await signIn();
    if (me.get()?.id !== whose) connect();
  }
}

/** Another tab chose somebody else, whom the cookie names for all of them. */
const chosen = new BroadcastChannel("batchshare.person");

/** Follows the events of whoever was chosen here. */
export function follow(person) {
  become(person);
  chosen.postMessage(null);
  connect();
}

/** Follows the events of whoever is signed in. */
export function startStream() {
  connect();
  if (document.hidden) wake();
  chosen.addEventListener("message", wake);
  const look = () => (document.hidden ? disconnect() : connect());
  for (const change of ["online", "offline"]) addEventListener(change, look);
  addEventListener("focus", wake);
  addEventListener("pageshow", (event) => event.persisted && wake());
  document.addEventListener("visibilitychange", wake);
  setInterval(() => {
    if (source === null || !isSilent()) return;
    failures = Math.max(failures, 1); // the silence was the first
    connect();
  }, LOOK_MS);
}
