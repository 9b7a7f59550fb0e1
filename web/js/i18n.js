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

/** A text with its `{places}` filled; where the text has plurals, `n` chooses. Numbers are formatted. */
export function t(key, values = {}) {
  const words = LANGUAGES[language.get()];
  let text = words[key];
  if (typeof text === "object") {
    text = text[new Intl.PluralRules(language.get()).select(values.n)] ?? text.other;
  }
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (place, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : (value ?? place);
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
