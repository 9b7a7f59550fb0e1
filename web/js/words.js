// What a job is about and what it did, and who somebody is, in words: the same everywhere on the page.
import { has, language, shown, t } from "./i18n.js";
import { isTerminal } from "./state.js";

/** The text for what a job does: one that takes access away has words of its own, where those for a share do not fit. */
export const of = ({ kind }, key) => (has(`${key}.${kind}`) ? `${key}.${kind}` : key);

/** Somebody's name with what tells two of that name apart: the username or the e-mail. A group has its name alone. */
export function whoOf({ name, username, email }) {
  const more = username || email;
  return shown(more ? `${name} (${more})` : name);
}

export const kindOf = ({ kind, recipient_kind }) => t(`kind.${recipient_kind ?? kind ?? "unknown"}`);

/** A secret, a recipient or whoever has access, by name; by number where the name is not ours to see. */
export function nameOf({ kind, recipient_kind, id, name, username, email }) {
  if (name) return whoOf({ name, username, email });
  return `${kindOf({ kind, recipient_kind })} ${t("job.unnamed", { id: String(id) })}`;
}

/** "Ana, Bruno e mais 4": the first of them by name, and how many more there are. */
function listed(first, total, name) {
  const more = total - first.length;
  const parts = [...first.map(name), ...(more > 0 ? [t("what.more", { n: more })] : [])];
  return new Intl.ListFormat(language.get()).format(parts);
}

/** With whom: by name where the names came along, else so many. */
function recipientsOf({ recipients, first_recipients: first }) {
  return first?.length > 0 ? listed(first, recipients, nameOf) : t("what.recipients", { n: recipients });
}

/** The one secret by its name, several by their number. */
function secretsOf({ secrets, first_secrets: first }) {
  if (secrets === null) return t("what.all");
  return secrets === 1 && first?.[0]?.name ? shown(first[0].name) : t("what.secrets", { n: secrets });
}

/** What a job is about: which secrets, and for whom. Empty where its request could not be read. */
export function whatOf(job) {
  if (job.recipients === null || (job.secrets === null && !job.first_recipients?.length)) return "";
  return t(job.kind === "unshare" ? "what.unshare" : "what", { secrets: secretsOf(job), recipients: recipientsOf(job) });
}

/** The first of several secrets by name; empty where there is one, whose name the title has, or none is known. */
export function namesOf({ secrets, first_secrets: first }) {
  if (!(secrets > 1) || !first?.length) return "";
  return listed(first, secrets, (one) => nameOf({ ...one, kind: "secret" }));
}

const OUTCOMES = {
  share: ["granted", "upgraded", "unchanged", "rejected"],
  undo: ["revoked", "lowered", "kept", "untouched", "rejected"],
  unshare: ["revoked", "lowered", "untouched", "rejected"],
};

/** What can become of a pair of this job. */
export const outcomesOf = ({ kind }) => OUTCOMES[kind] ?? OUTCOMES.share;

/** The outcomes that changed what somebody may do. */
const CHANGES = ["granted", "upgraded", "revoked", "lowered"];

const sum = ({ counts }, outcomes) => outcomes.reduce((all, outcome) => all + (counts[outcome] ?? 0), 0);

/** The pairs that are done and were not rejected. */
export const given = (job) => sum(job, outcomesOf(job).filter((outcome) => outcome !== "rejected"));

/** Whether it ended well and yet nobody may do more or less than before. */
const isVain = (job) => job.state === "completed" && job.counts !== undefined && sum(job, CHANGES) === 0;

/** What a notice is, in a word: `good`, `same`, `partial` or `failed`. */
export function toneOf(job) {
  if (job.state === "completed") return isVain(job) ? "same" : "good";
  return job.state === "completed_with_rejections" || job.state === "cancelled" ? "partial" : "failed";
}

/** The icon of a tone. */
export const TONES = { good: "check", same: "same", partial: "alert", failed: "cross" };

export function titleOf(notice) {
  const word = (key) => t(of(notice, key));
  if (isVain(notice)) return word("notice.same");
  if (notice.state === "completed_with_rejections") return word("notice.partial");
  if (notice.state === "failed") return word(given(notice) > 0 ? "notice.failedPart" : "notice.failed");
  return word(`notice.${notice.state}`);
}

/** How many pairs had each outcome, `rest` being those that nobody has tried; nothing that is zero. */
export function countsOf(job) {
  const rest = (job.pairs ?? job.done_pairs) - job.done_pairs;
  const all = [...outcomesOf(job).map((outcome) => [outcome, job.counts[outcome]]), ["rest", rest]];
  return all.filter(([, n]) => n > 0);
}

/** One of the counts in words. */
export const countText = (job, outcome, n) => t(of(job, `count.${outcome}`), { n });

/** What happened, in words and numbers. */
export function linesOf(job) {
  return [...countsOf(job).map(([outcome, n]) => countText(job, outcome, n)), ...notesOf(job)];
}

/** What is to be said of an ended job beside its numbers. */
export function notesOf(job) {
  const notes = [];
  if (job.reason) notes.push(t(`reason.${job.reason}`));
  if ((job.state === "failed" || job.state === "cancelled") && given(job) > 0) notes.push(t(of(job, "notice.kept")));
  return notes;
}

/** Whether an undo of it can be asked for: it has ended, it shared, and something of it may be left. */
export const isUndoable = (job) =>
  isTerminal(job.state) && (job.kind ?? "share") === "share" && given(job) > 0;

/** The pairs of an ended share that it rejected or never came to, as long as it is not undone. */
export function leftOf(job) {
  if (!isTerminal(job.state) || (job.kind ?? "share") !== "share" || job.undone_by || job.pairs === null) return 0;
  return job.pairs - job.done_pairs + job.counts.rejected;
}
