// From the selection to the share that is sent: the bar, the question, the share window.
import { html, oneAtATime, useEffect, useRef, useState, useStore } from "./lib.js";
import { get, send as ask } from "./api.js";
import { ChosenLines, Finder, useChosen } from "./finder.js";
import { shown, t } from "./i18n.js";
import { asked, clearSelection, reopened, selecting, selection, submit, unselect } from "./state.js";
import { Confirm, Dialog, Icon, IconButton, Trouble } from "./ui.js";
import { UnshareWindow } from "./unshare.js";

/** Shown only with a selection. Its place at the bottom is always kept free, so nothing jumps. */
export function SelectionBar() {
  const selected = useStore(selection);
  const again = useStore(reopened);
  const growing = useStore(selecting) !== null;
  const [step, setStep] = useState(null);
  useEffect(() => {
    if (again) setStep(again.kind ?? "share");
  }, [again]);
  // A dialog is about a selection: the next one begins without.
  useEffect(() => {
    if (selected.size === 0) setStep(null);
  }, [selected.size]);
  const close = () => {
    setStep(null);
    reopened.set(null);
  };
  const send = (recipients, kind = "share") => {
    const share = { kind, secrets: selected, recipients };
    close();
    // What was sent must not leak into the next share.
    clearSelection();
    submit(share);
  };
  if (selected.size === 0) return null;
  return html`<section class="selection-bar" aria-label=${t("selection.region")}>
      <strong>${t("selection.count", { n: selected.size })}</strong>
      <span class="selection-actions">
        <button type="button" class="plain" onClick=${() => setStep("review")}>${t("selection.review")}</button>
        <button type="button" class="plain" onClick=${clearSelection}>${t("selection.clear")}</button>
      </span>
      <button type="button" class="take" aria-disabled=${growing} onClick=${() => growing || setStep("unshare")}>${t("unshare")}</button>
      <button type="button" class="primary" aria-disabled=${growing} onClick=${() => growing || setStep("confirm")}><${Icon} name="share" />${t("share")}</button>
    </section>
    ${step === "review" && html`<${Review} onClose=${close} />`}
    ${step === "confirm" &&
    html`<${Confirm} key="confirm" title=${t("share.confirm.title", { n: selected.size })} onNo=${close} onYes=${() => setStep("share")}>
      ${t("share.confirm", { n: selected.size })}
    <//>`}
    ${step === "share" &&
    html`<${ShareWindow} key="share" secrets=${selected} chosen=${again?.recipients ?? []} onClose=${close} onSend=${send} />`}
    ${step === "unshare" &&
    html`<${UnshareWindow} key="unshare" secrets=${selected} chosen=${again?.recipients ?? []} onClose=${close} onSend=${(recipients) => send(recipients, "unshare")} />`}`;
}

const REVIEWED = 50;

/** The selected secrets by name, a page at a time. */
function Review({ onClose }) {
  const selected = useStore(selection);
  const [names, setNames] = useState(new Map()); // null for one that is not in reach any more
  const [most, setMost] = useState(REVIEWED);
  const [problem, setProblem] = useState(null);
  const ids = [...selected.keys()].sort((a, b) => a - b).slice(0, most);
  const read = async () => {
    const unknown = ids.filter((id) => !names.has(id));
    if (unknown.length === 0) return;
    setProblem(null);
    try {
      const { items } = await get("/secrets", { ids: unknown.slice(0, 200).join(","), limit: 200 });
      const found = new Map(items.map((item) => [item.id, item.name]));
      setNames((old) => new Map([...old, ...unknown.map((id) => [id, found.get(id) ?? null])]));
    } catch (error) {
      setProblem(error);
    }
  };
  useEffect(() => void read(), [ids.join()]);
  const name = (id) => names.get(id) ?? selected.get(id) ?? (names.has(id) ? t("selection.gone", { id: String(id) }) : `${id}`);
  return html`<${Dialog}
    title=${t("selection.count", { n: selected.size })}
    onClose=${onClose}
    actions=${html`<button type="button" class="primary" onClick=${onClose}>${t("app.close")}</button>`}
  >
    ${problem && html`<${Trouble} problem=${problem} again=${read} />`}
    <ul class="lines">
      ${ids.map(
        (id) => html`<li key=${id}>
          <span class="line-id">${id}</span>
          <span class="line-name">${shown(name(id))}</span>
          <${IconButton} icon="trash" label=${t("selection.remove", { name: name(id) })} onClick=${() => unselect([id])} />
        </li>`,
      )}
    </ul>
    ${selected.size > most &&
    html`<button type="button" onClick=${() => setMost(most + REVIEWED)}>${t("app.more")}</button>`}
  <//>`;
}

/** What is asked while somebody chooses would be of no use before they pause. */
const PAUSE_MS = 400;

/**
 * What the share would do, once the server has counted all of it. Until then, and whenever it cannot, this is null:
 * nothing waits for it, and nobody is told of a trouble with it.
 */
function useLookAhead(secrets, recipients) {
  const [foreseen, setForeseen] = useState(null);
  const run = useRef(null);
  run.current ??= oneAtATime();
  const who = recipients.map(({ kind, id, permission }) => `${kind} ${id} ${permission}`).join();
  useEffect(() => {
    let wanted = recipients.length > 0;
    setForeseen(null);
    const look = async () => {
      if (!wanted) return;
      const preview = await ask("POST", "/share-jobs/preview", asked({ secrets, recipients })).catch(() => null);
      if (wanted && preview?.exact) setForeseen(preview);
    };
    const pause = setTimeout(() => run.current(look), PAUSE_MS);
    return () => {
      wanted = false;
      clearTimeout(pause);
    };
  }, [secrets, who]);
  return foreseen;
}

const COUNTS = ["granted", "upgraded", "unchanged", "rejected"];

/** A preview in a line, like "3.600 acessos: 3.480 novos, 120 já existentes; 41 pessoas". */
function foreseenText(preview) {
  const counts = COUNTS.filter((name) => preview[name] > 0).map((name) => t(`share.foreseen.${name}`, { n: preview[name] }));
  const people = t("share.foreseen.people", { n: preview.people.distinct });
  return t("share.foreseen", { n: preview.pairs, counts: counts.join(", "), people });
}

/** Recipients for these secrets, a map by id. */
export function ShareWindow({ secrets: selected, chosen: before, onClose, onSend }) {
  const secrets = selected.size;
  const { chosen, permit, remove, go, finder } = useChosen(before, onSend);
  const foreseen = useLookAhead(selected, chosen);
  const boxes = (one) => html`<label class="box"><input type="checkbox" checked disabled />${t("permission.view")}</label>
    <label class="box">
      <input type="checkbox" checked=${one.permission === "edit"} onChange=${(event) => permit(one, event.target.checked)} />
      ${t("permission.edit")}
    </label>`;
  return html`<${Dialog}
    title=${t("share.title", { n: secrets })}
    className="share-window"
    onClose=${onClose}
    onSubmit=${go}
    actions=${html`
      <span class="pairs">
        ${chosen.length > 0 && t("share.pairs", { secrets, recipients: chosen.length, n: secrets * chosen.length })}
        <small aria-live="polite">${foreseen && foreseenText(foreseen)}</small>
      </span>
      <span class="spring"></span>
      <button type="button" onClick=${onClose}>${t("app.cancel")}</button>
      <button type="submit" class="primary">${t("share")}</button>
    `}
  >
    <${Finder} ...${finder} />
    <${ChosenLines} chosen=${chosen} remove=${remove} boxes=${boxes} />
  <//>`;
}
