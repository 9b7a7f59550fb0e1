// The public HTTP API, and nothing else: what this page can do, any other page can do.
import { store } from "./lib.js";

/** Beside the document, which a proxy may show below a path of its own. */
const BASE = "api/v1";

/** An answer that takes longer does not come: the person is told, and can try again. */
const DEADLINE_MS = 30_000;

/** Who I am, as `/me` says; null until known, or a Problem. */
export const me = store(null);

/** What an answer without a problem of ours means: a proxy's, or none at all (status 0). */
const NAMES = {
  0: "unreachable",
  401: "not_signed_in",
  403: "not_allowed",
  404: "not_found",
  408: "too_slow",
  413: "too_large",
  421: "unknown_host",
  429: "too_many_requests",
};

/** Asked again, the same would be refused again. */
const HOPELESS = ["too_large", "over_limit", "invalid_field", "key_conflict", "not_allowed", "sign_in_refused"];

const OURS = /^urn:batchshare:problem:(\w+)$/;

/** An answer that says no, or none at all (status 0). `name` is the last part of the problem's type. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body?.detail || `HTTP ${status}`);
    this.status = status;
    this.name = OURS.exec(body?.type)?.[1] ?? NAMES[status] ?? (status >= 500 ? "unavailable" : "other");
    this.field = body?.field || null;
  }

  /** The server said no and did nothing; of any other problem nobody knows what it did. */
  get refused() {
    return this.status >= 400 && this.status < 500;
  }

  get hopeless() {
    return HOPELESS.includes(this.name);
  }

  /** Of `/me`: nobody is signed in, or whoever is may not be. */
  get nobody() {
    return this.status === 401 || this.status === 403;
  }
}

/** Where the browser itself gets something of the API. */
export const addressOf = (path) => BASE + path;

async function ask(path, options) {
  let answer;
  let body = null;
  try {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    answer = await fetch(BASE + path, { credentials: "same-origin", cache: "no-store", signal, ...options });
    if (answer.status !== 204) body = await answer.json();
  } catch {
    // Without its body an answer is as good as none, but for a no: that is in the status.
    if (!answer || answer.ok) throw new Problem(0);
  }
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}

function reading(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return ask(text ? `${path}?${text}` : path, {});
}

function sending(method, path, body, headers = {}) {
  return ask(path, {
    method,
    headers: method === "DELETE" ? headers : { "Content-Type": "application/json", ...headers },
    body: method === "DELETE" ? undefined : JSON.stringify(body ?? {}),
  });
}

/** What was asked for one person never comes to another: where somebody else is signed in by then, it is dropped. */
async function forMe(answer) {
  const asked = me.get()?.id;
  try {
    return await answer;
  } finally {
    // A moment in which nobody is signed in is no other person.
    const now = me.get()?.id;
    if (now !== undefined && now !== asked) await new Promise(() => {});
  }
}

/** GET; parameters that are empty or null are left out. */
export const get = (path, params) => forMe(reading(path, params));

/** POST, PUT or PATCH of JSON, or DELETE without. */
export const send = (method, path, body, headers) => forMe(sending(method, path, body, headers));

/** Who I am and who I can be: asked and answered whoever is signed in. */
export const whoAmI = () => reading("/me");
export const people = (cursor) => reading("/demo/people", { cursor });
export const choosePerson = (username) => sending("PUT", "/demo/me", { username });
