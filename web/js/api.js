// The public HTTP API, and nothing else: what this page can do, any other page can do.

const BASE = "/api/v1";

/** An answer that says no, or none at all (status 0). `name` is the last part of the problem's type. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.name = (body.type || "").split(/[/:#]/).pop() || "unreachable";
    this.field = body.field || null;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(BASE + path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {}, null);
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, body, Number(answer.headers.get("Retry-After")) || null);
  }
  return answer.status === 204 ? null : answer.json();
}

/** GET; parameters that are empty or null are left out. */
export function get(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return ask(text ? `${path}?${text}` : path, {});
}

/** POST, PUT or PATCH of JSON, or DELETE without. */
export function send(method, path, body, headers = {}) {
  return ask(path, {
    method,
    headers: method === "DELETE" ? headers : { "Content-Type": "application/json", ...headers },
    body: method === "DELETE" ? undefined : JSON.stringify(body ?? {}),
  });
}
