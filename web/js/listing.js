// A listing of the API as a view shows it: page after page, and anew when something has happened.
import { oneAtATime, useEffect, useRef, useState } from "./lib.js";
import { get } from "./api.js";

const PAGE = 50;
/** The API gives so many at a time. */
const MOST = 200;

/**
 * `items` is null until they are known. Read again whenever one of `when` changes. A page of a listing that is `slow` may
 * have few items or none: one is read at a time, and more when somebody wants more.
 */
export function useListing(path, when, slow = false) {
  const [page, setPage] = useState({ items: null, next: null, problem: null });
  const run = useRef(null);
  run.current ??= oneAtATime();
  const shown = useRef(0);
  shown.current = page.items?.length ?? 0;
  const read = (cursor) =>
    run.current(async () => {
      // Rows that were loaded stay: as many are read again.
      const wanted = cursor ? PAGE : Math.max(PAGE, shown.current);
      const items = [];
      let next = cursor;
      try {
        do {
          const found = await get(path, { cursor: next, limit: Math.min(wanted - items.length, MOST) });
          items.push(...found.items);
          next = found.next_cursor;
        } while (!slow && next && items.length < wanted);
        setPage((old) => ({ items: cursor ? [...old.items, ...items] : items, next, problem: null }));
      } catch (problem) {
        setPage((old) => ({ ...old, problem }));
      }
    });
  useEffect(() => void read(null), when);
  return { ...page, again: () => read(null), more: () => read(page.next) };
}
