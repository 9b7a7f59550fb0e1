// The two languages. Portuguese is the product's; whoever wants English switches.
import { store } from "./lib.js";
import en from "./en.js";
import pt from "./pt.js";

const LANGUAGES = { "pt-BR": pt, en };
const kept = localStorage.getItem("batchshare.language");

export const language = store(kept in LANGUAGES ? kept : "pt-BR");

export function useLanguage(next) {
  localStorage.setItem("batchshare.language", next);
  language.set(next);
}

/** A number as people read it. */
export function number(value) {
  return new Intl.NumberFormat(language.get()).format(value);
}

// What shows nothing and changes what others show: it turns the direction of text, or hides in it. The server
// takes no such names; these are from before. (src/domain/text.rs has the same list.)
const HIDDEN =
  /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e00ff}\u{e01f0}-\u{e0fff}]/gu;

/** Joiners within a word of a script that writes with them, or within an emoji, are no trick. */
const isJoiner = (hidden, at, text) =>
  /[\u200c\u200d]/.test(hidden) && /[^\x00-\x7f\s]$/u.test(text.slice(0, at)) && /^[^\x00-\x7f\s]/u.test(text.slice(at + 1));

/** A text from outside as it is: what nobody would see in it is shown as its code. */
export function shown(text) {
  return text?.replace(HIDDEN, (hidden, at) =>
    isJoiner(hidden, at, text) ? hidden : `⟨U+${hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** A text with its `{places}` filled; where the text has plurals, `n` chooses. Numbers are formatted, texts shown as they are. */
export function t(key, values = {}) {
  const words = LANGUAGES[language.get()];
  let text = words[key];
  if (typeof text === "object") {
    text = text[new Intl.PluralRules(language.get()).select(values.n)] ?? text.other;
  }
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (place, name) => {
    const value = values[name];
    if (typeof value === "number") return number(value);
    return typeof value === "string" ? shown(value) : (value ?? place);
  });
}

/** Whether there is such a text. */
export const has = (key) => key in LANGUAGES[language.get()];

/** A time of the API, in the reader's zone; short where it was today. */
export function time(text) {
  if (!text) return "–";
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "short" };
  return new Intl.DateTimeFormat(language.get(), style).format(at);
}

/** A field of the API as the page calls it; `tags[3]` is one of the tags. */
function fieldText(field) {
  const key = `field.${field?.split(/[.[]/)[0]}`;
  return has(key) ? t(key) : (field ?? "");
}

/** What an error means for the person. */
export function problemText({ name, status, field }) {
  const key = `problem.${name}`;
  // The server's own words are English, and for programs.
  return has(key) ? t(key, { field: fieldText(field) }) : t("problem.other", { code: `${status} ${name}` });
}
