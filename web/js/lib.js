// The rendering library, and the two helpers that every module uses.
import { Fragment, h, render } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { Fragment, render };
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import { useEffect, useState } from "../vendor/hooks.js";

export const html = htm.bind(h);

/** A value that components follow. `set` takes a new value or a function of the old one. */
export function store(value) {
  const followers = new Set();
  return {
    get: () => value,
    set(next) {
      const made = typeof next === "function" ? next(value) : next;
      if (made === value) return;
      value = made;
      for (const tell of [...followers]) tell();
    },
    follow(tell) {
      followers.add(tell);
      return () => followers.delete(tell);
    },
  };
}

/** The value of a store; the component is drawn again when it changes. */
export function useStore(followed) {
  const [value, setValue] = useState(followed.get);
  useEffect(() => {
    const tell = () => setValue(followed.get);
    tell(); // it may have changed between the first drawing and now
    return followed.follow(tell);
  }, [followed]);
  return value;
}

/**
 * Runs one question at a time: while one is under way only the latest waits, so that fast typing asks
 * no more than the server answers, and an old answer never comes after a newer one.
 */
export function oneAtATime() {
  let busy = false;
  let waiting = null;
  return async function run(question) {
    if (busy) {
      waiting = question;
      return;
    }
    busy = true;
    try {
      await question(() => waiting === null);
    } finally {
      busy = false;
      const next = waiting;
      waiting = null;
      if (next) run(next);
    }
  };
}

/** A random UUID, also where the page does not come over TLS. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
