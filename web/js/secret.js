// One secret: what it is, its value behind a button, changing it, and who has access.
import { html, oneAtATime, useEffect, useLayoutEffect, useMemo, useRef, useState, useStore } from "./lib.js";
import { get, send } from "./api.js";
import { problemText, shown, t, time } from "./i18n.js";
import { Access } from "./access.js";
import { lastList } from "./secrets.js";
import { ShareWindow } from "./share.js";
import { live, me, say, submit } from "./state.js";
import { done } from "./toasts.js";
import { Address, Heading, Icon, IconButton, Missing, Pill, Trouble } from "./ui.js";
import { Why } from "./why.js";
import { whoOf } from "./words.js";

export function Secret({ id }) {
  const [found, setFound] = useState({ secret: null, problem: null });
  const [editing, setEditing] = useState(false);
  const edit = useRef();
  const { news } = useStore(live);
  const run = useRef(null);
  run.current ??= oneAtATime();
  const saves = useRef(0);
  const read = () =>
    run.current(async (isLatest) => {
      const before = saves.current;
      // What was asked for before a change was saved is older than the change.
      const isNew = () => isLatest() && saves.current === before;
      try {
        const secret = await get(`/secrets/${id}`);
        if (isNew()) setFound({ secret, problem: null });
      } catch (problem) {
        // What stands there stays while the server is away.
        if (isNew()) setFound((old) => ({ secret: problem.status === 404 ? null : old.secret, problem }));
      }
    });
  useEffect(() => void read(), [id, news]);
  const { secret, problem } = found;
  const saved = (changed) => {
    saves.current += 1;
    setFound({ secret: changed, problem: null });
    setEditing(false);
    done(t("secret.saved"));
  };
  // From the form the focus goes back to where it was opened.
  const wasEditing = useRef(false);
  useLayoutEffect(() => {
    if (wasEditing.current && !editing) edit.current?.focus();
    wasEditing.current = editing;
  }, [editing]);
  const back = html`<a class="back" href=${`#/${lastList}`}><${Icon} name="back" />${t("secret.back")}</a>`;
  if (!secret) {
    if (!problem) return html`${back}<p class="quiet">${t("app.loading")}</p>`;
    if (problem.status !== 404) return html`${back}<${Trouble} problem=${problem} again=${read} />`;
    return html`${back}<${Missing} title=${t("app.missing")} help=${t("app.missing.help")} />`;
  }
  const mayEdit = secret.permission !== "view";
  return html`${back}
    <div class="title-line">
      <${Heading}>${shown(secret.name)}<//>
      <${Pill} kind="tag">${t(`permission.${secret.permission}`)}<//>
      ${secret.disabled && html`<${Pill} kind="off">${t("secrets.disabled")}<//>`}
      <span class="spring"></span>
      ${mayEdit && !editing && html`<button type="button" ref=${edit} onClick=${() => setEditing(true)}>${t("secret.edit")}</button>`}
      ${mayEdit && !editing && !secret.disabled && html`<${Share} secret=${secret} />`}
    </div>
    ${problem && html`<${Trouble} problem=${problem} again=${read} />`}
    ${secret.disabled && html`<p class="quiet">${t("secret.disabled.means")}</p>`}
    ${!mayEdit && html`<p class="quiet">${t("secret.viewOnly")} <${WhyMe} secret=${secret} /></p>`}
    ${editing ? html`<${Edit} secret=${secret} onSaved=${saved} onCancel=${() => setEditing(false)} />` : html`<${Facts} secret=${secret} />`}
    <${Access} secret=${secret} mayEdit=${mayEdit} onTaken=${read} />`;
}

/** Shares this one secret, whatever is selected elsewhere. */
function Share({ secret }) {
  const [open, setOpen] = useState(false);
  const secrets = useMemo(() => new Map([[secret.id, secret.name]]), [secret.id, secret.name]);
  const send = (recipients) => {
    setOpen(false);
    submit({ secrets, recipients });
  };
  return html`<button type="button" class="primary" onClick=${() => setOpen(true)}><${Icon} name="share" />${t("share")}</button>
    ${open && html`<${ShareWindow} secrets=${secrets} chosen=${[]} onClose=${() => setOpen(false)} onSend=${send} />`}`;
}

/** Whoever may only view asks about themselves. */
function WhyMe({ secret }) {
  const [asking, setAsking] = useState(false);
  return html`<button type="button" class="plain small" onClick=${() => setAsking(true)}>${t("why.me")}</button>
    ${asking && html`<${Why} secret=${secret} person=${me.get()} onClose=${() => setAsking(false)} />`}`;
}

/** Copies a text, or the text that `read` gets, and says so. */
function Copy({ what, read }) {
  const [told, setTold] = useState("");
  useEffect(() => {
    if (!told) return undefined;
    const timer = setTimeout(() => setTold(""), 3_000);
    return () => clearTimeout(timer);
  }, [told]);
  const copy = async () => {
    let words = t("secret.copied");
    try {
      await navigator.clipboard.writeText(await read());
    } catch (error) {
      words = error.status === undefined ? t("secret.notCopied") : problemText(error);
    }
    setTold(words);
    say(words);
  };
  return html`<${IconButton} icon="copy" label=${t("secret.copy", { what })} onClick=${copy} /><span class="told">${told}</span>`;
}

const Fact = ({ name, children }) => html`<div><dt>${t(name)}</dt><dd>${children}</dd></div>`;

const Facts = ({ secret }) => html`<dl class="facts">
  <${Fact} name="secret.clientSecret"><${ClientSecret} secret=${secret} /><//>
  <${Fact} name="secret.clientId">
    <code>${shown(secret.client_id)}</code>
    <${Copy} what=${t("secret.clientId")} read=${() => secret.client_id} />
  <//>
  <${Fact} name="secrets.url"><span><${Address} url=${secret.url} /></span><//>
  <${Fact} name="secrets.id">${secret.id}<//>
  <${Fact} name="secret.identifier">${shown(secret.identifier) ?? "–"}<//>
  <${Fact} name="secret.method">${shown(secret.method) || "–"}<//>
  <${Fact} name="secrets.tags">${secret.tags.length === 0 ? "–" : secret.tags.map((tag) => html`<${Pill} key=${tag} kind="tag">${shown(tag)}<//>`)}<//>
  <${Fact} name="secrets.owner">${secret.permission === "owner" ? t("secrets.mine") : whoOf(secret.owner)}<//>
  <${Fact} name="secret.notes">${secret.notes || "–"}<//>
  <${Fact} name="secret.updated">${time(secret.updated_at)}<//>
</dl>`;

/** A value that is shown is hidden again after this long. */
const SHOWN_MS = 60_000;

function ClientSecret({ secret }) {
  const [shown, setShown] = useState(null);
  const [problem, setProblem] = useState(null);
  const read = async () => (await get(`/secrets/${secret.id}/client-secret`)).client_secret ?? "";
  useEffect(() => {
    if (shown === null) return undefined;
    const timer = setTimeout(() => setShown(null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [shown]);
  // Neither Back nor a tab that is restored shows it again. The page may be frozen at once, before anything is
  // rendered: so the text goes first.
  const value = useRef();
  useEffect(() => {
    const hide = () => {
      if (value.current) value.current.textContent = "";
      setShown(null);
    };
    addEventListener("pagehide", hide);
    return () => removeEventListener("pagehide", hide);
  }, []);
  // A value that was changed is not the one that was shown.
  useEffect(() => setShown(null), [secret.updated_at]);
  const show = async () => {
    setProblem(null);
    try {
      setShown(await read());
    } catch (error) {
      setProblem(error);
    }
  };
  if (!secret.has_client_secret) return html`<span class="quiet">${t("secret.without")}</span>`;
  return html`<span class="value">
      ${shown === null ? html`<span aria-label=${t("secret.hidden")} role="img">••••••••••••</span>` : html`<code ref=${value}>${shown}</code>`}
    </span>
    <button type="button" class="small" onClick=${() => (shown === null ? show() : setShown(null))}>${t(shown === null ? "secret.show" : "secret.hide")}</button>
    <${Copy} what=${t("secret.clientSecret")} read=${read} />
    ${problem && html`<${Trouble} problem=${problem} />`}`;
}

const TEXTS = [
  ["name", "secrets.name", true],
  ["url", "secrets.url", true],
  ["client_id", "secret.clientId", true],
  ["identifier", "secret.identifier", false],
  ["method", "secret.method", false],
];

/** Only what was changed is sent, so that two people who edit different fields do not undo each other. */
function changesOf(secret, form) {
  const changes = {};
  for (const [name] of TEXTS) {
    const text = form[name].trim();
    if (text !== (secret[name] ?? "")) changes[name] = text === "" ? null : text;
  }
  if (form.notes !== secret.notes) changes.notes = form.notes;
  const tags = [...new Set(form.tags.split(",").map((tag) => tag.trim()).filter(Boolean))].sort();
  if (tags.join() !== [...secret.tags].sort().join()) changes.tags = tags;
  if (form.disabled !== secret.disabled) changes.disabled = form.disabled;
  if (form.client_secret !== "") changes.client_secret = form.client_secret;
  return changes;
}

function Edit({ secret: present, onSaved, onCancel }) {
  // As it was when the editing began: what others change meanwhile is not this person's change.
  const [secret] = useState(present);
  const [form, setForm] = useState({
    ...Object.fromEntries(TEXTS.map(([name]) => [name, secret[name] ?? ""])),
    notes: secret.notes,
    tags: secret.tags.join(", "),
    disabled: secret.disabled,
    client_secret: "",
  });
  const [problem, setProblem] = useState(null);
  const [missing, setMissing] = useState(null);
  const [busy, setBusy] = useState(false);
  const element = useRef();
  useLayoutEffect(() => element.current.querySelector("input").focus(), []);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const save = async (event) => {
    event.preventDefault();
    const empty = TEXTS.find(([name, , required]) => required && form[name].trim() === "");
    setMissing(empty?.[0] ?? null);
    setProblem(null);
    if (empty) {
      element.current.elements[empty[0]].focus();
      return;
    }
    const changes = changesOf(secret, form);
    if (Object.keys(changes).length === 0) {
      onCancel();
      return;
    }
    setBusy(true);
    try {
      onSaved(await send("PATCH", `/secrets/${secret.id}`, changes));
    } catch (error) {
      setProblem(error);
      setBusy(false);
      element.current.elements[error.field]?.focus();
    }
  };
  const wrong = (name) => missing === name || problem?.field === name;
  return html`<form class="edit" ref=${element} onSubmit=${save} novalidate>
    ${TEXTS.map(
      ([name, label, required]) => html`<label key=${name}>
        <span>${t(label)}</span>
        <input name=${name} value=${form[name]} required=${required} autocomplete="off" aria-invalid=${wrong(name) ? "true" : null} onInput=${set(name)} />
        ${missing === name && html`<small class="refused">${t("secret.required")}</small>`}
      </label>`,
    )}
    <label>
      <span>${t("secret.newSecret")}</span>
      <input name="client_secret" type="password" autocomplete="new-password" value=${form.client_secret} onInput=${set("client_secret")} />
      <small>${t("secret.newSecret.help")}</small>
    </label>
    <label class="wide">
      <span>${t("secrets.tags")}</span>
      <input name="tags" value=${form.tags} autocomplete="off" onInput=${set("tags")} />
      <small>${t("secret.tags.help")}</small>
    </label>
    <label class="wide">
      <span>${t("secret.notes")}</span>
      <textarea name="notes" rows="3" value=${form.notes} onInput=${set("notes")}></textarea>
    </label>
    <label class="box">
      <input type="checkbox" name="disabled" checked=${form.disabled} onChange=${(event) => setForm({ ...form, disabled: event.target.checked })} />
      ${t("secret.disable")}
    </label>
    ${problem && html`<${Trouble} problem=${problem} />`}
    <div class="form-actions">
      <button type="button" onClick=${onCancel}>${t("app.cancel")}</button>
      <button type="submit" class="primary" disabled=${busy}>${t("secret.save")}</button>
    </div>
  </form>`;
}
