// Stopping a job that runs, and undoing one that has ended: each asks first, and says what will and what will not be.
import { html, useEffect, useRef, useState, uuid } from "./lib.js";
import { addressOf, get, send } from "./api.js";
import { t } from "./i18n.js";
import { jobMoved, say } from "./state.js";
import { Dialog, Trouble } from "./ui.js";
import { leftOf, of, whatOf } from "./words.js";

/**
 * A question whose answer is acted upon: `act` is awaited with the dialog open, so that a failure is told where the
 * person is, and can be tried again. What is to be known before the answer is `children`; `waits` as long as it is not.
 */
export function Question({ title, yes, no = "app.no", tone = "danger", waits, act, onClose, children }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const run = async () => {
    if (waits || busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await act();
      onClose();
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<${Dialog}
    title=${title}
    className="confirm"
    onClose=${onClose}
    onSubmit=${run}
    actions=${html`<button type="button" data-autofocus onClick=${onClose}>${t(no)}</button>
      <button type="submit" class=${tone} aria-disabled=${waits || busy}>${t(yes)}</button>`}
  >
    ${children}
    ${problem && html`<${Trouble} problem=${problem} again=${run} />`}
  <//>`;
}

/** What would be, read when the question is asked. `read` is called once; `told` says it to who hears. */
export function useForeseen(read, told) {
  const [found, setFound] = useState({ preview: null, problem: null });
  const look = async () => {
    setFound({ preview: null, problem: null });
    try {
      const preview = await read();
      setFound({ preview, problem: null });
      say(told(preview).join(" "));
    } catch (problem) {
      setFound({ preview: null, problem });
    }
  };
  useEffect(() => void look(), []);
  return { ...found, again: look };
}

/** What was foreseen in sentences; while it is read, its place. */
export const Foreseen = ({ found, lines }) => html`<div class="foreseen">
  ${found.problem && html`<${Trouble} problem=${found.problem} again=${found.again} />`}
  ${!found.problem && !found.preview && html`<p class="quiet">${t("control.counting")}</p>`}
  ${found.preview && html`<ul>${lines(found.preview).map((line) => html`<li key=${line}>${line}</li>`)}</ul>`}
</div>`;

const FORESEEN = {
  undo: ["revoked", "lowered", "kept", "untouched", "rejected"],
  unshare: ["revoked", "lowered", "untouched", "rejected"],
};

/** The counts of a preview as what will be; nothing that is zero. */
export function foreseenLines(kind, preview) {
  const lines = FORESEEN[kind].filter((one) => preview[one] > 0).map((one) => t(of({ kind }, `will.${one}`), { n: preview[one] }));
  if (preview.revoked + preview.lowered === 0) lines.unshift(t("will.nothing"));
  if (!preview.exact) lines.push(t("will.more"));
  return lines;
}

/** A button's words with what it is about, since several of them may be seen at once. */
const about = (label, job) => `${t(label)}: ${whatOf(job)}`;

/** The button that stops a job, with its question. What was done stays. */
export function Cancel({ job }) {
  const [asking, setAsking] = useState(false);
  const act = async () => jobMoved(await send("POST", `/share-jobs/${job.job_id}/cancel`));
  return html`<button type="button" aria-label=${about("control.cancel", job)} onClick=${() => setAsking(true)}>${t("control.cancel")}</button>
    ${asking &&
    html`<${Question} title=${t(of(job, "control.cancel.title"))} yes="control.cancel.yes" no="control.cancel.no" act=${act} onClose=${() => setAsking(false)}>
      <p>${whatOf(job)}</p>
      <p>${t("control.cancel.stays", { n: job.done_pairs })}</p>
      <p>${t("control.cancel.rest")} ${job.kind === "share" && t("control.cancel.undo")}</p>
    <//>`}`;
}

/** The button that takes back what a job gave, with its question: it counts first. */
export function Undo({ job }) {
  const [asking, setAsking] = useState(false);
  return html`<button type="button" aria-label=${about("control.undo", job)} onClick=${() => setAsking(true)}>${t("control.undo")}</button>
    ${asking && html`<${UndoQuestion} job=${job} onClose=${() => setAsking(false)} />`}`;
}

function undoLines(preview) {
  const lines = foreseenLines("undo", preview);
  if (preview.values_read > 0) lines.push(t("will.read", { n: preview.values_read }));
  return lines;
}

function UndoQuestion({ job, onClose }) {
  const path = `/share-jobs/${job.job_id}/undo`;
  const found = useForeseen(() => get(path), undoLines);
  // Pressed again after an answer that got lost, it is the same undo.
  const key = useRef(uuid());
  const act = async () => jobMoved(await send("POST", path, {}, { "Idempotency-Key": key.current }));
  return html`<${Question} title=${t("control.undo.title")} yes="control.undo" waits=${!found.preview} act=${act} onClose=${onClose}>
    <p>${whatOf(job)}</p>
    <${Foreseen} found=${found} lines=${undoLines} />
  <//>`;
}

/** The button that asks again for what a share rejected or never came to, with its question. */
export function Rest({ job }) {
  const [asking, setAsking] = useState(false);
  // Pressed again after an answer that got lost, it is the same job.
  const key = useRef(uuid());
  const act = async () => jobMoved(await send("POST", `/share-jobs/${job.job_id}/rest`, {}, { "Idempotency-Key": key.current }));
  return html`<button type="button" onClick=${() => setAsking(true)}>${t("control.rest")}</button>
    ${asking &&
    html`<${Question} title=${t("control.rest.title")} yes="control.rest" tone="primary" act=${act} onClose=${() => setAsking(false)}>
      <p>${whatOf(job)}</p>
      <p>${t("control.rest.left", { n: leftOf(job) })}</p>
      <p>${t("control.rest.kept")}</p>
    <//>`}`;
}

/** The report of a job as files, which the browser saves. */
export const Export = ({ job }) =>
  ["csv", "jsonl"].map(
    (format) => html`<a key=${format} class="button" download href=${addressOf(`/share-jobs/${job.job_id}/export?format=${format}`)}>
      ${t("control.export", { format: format === "csv" ? "CSV" : "JSON" })}
    </a>`,
  );
