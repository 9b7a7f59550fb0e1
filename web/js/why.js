// Why somebody has access to a secret: every way that gives it, who shared it and when, and who asked for it, too.
import { html, useEffect, useState } from "./lib.js";
import { get } from "./api.js";
import { shown, t, time } from "./i18n.js";
import { say } from "./state.js";
import { Dialog, Trouble } from "./ui.js";
import { nameOf, whoOf } from "./words.js";

export function Why({ secret, person, onClose }) {
  const [found, setFound] = useState({ access: null, problem: null });
  const read = async () => {
    setFound({ access: null, problem: null });
    try {
      const access = await get(`/secrets/${secret.id}/access`, { user: person.id });
      setFound({ access, problem: null });
      say([t(`why.may.${access.effective}`), ...access.because.map(wayText)].join(" "));
    } catch (problem) {
      setFound({ access: null, problem });
    }
  };
  useEffect(() => void read(), []);
  const { access, problem } = found;
  return html`<${Dialog}
    title=${t("why.title", { name: whoOf(person) })}
    onClose=${onClose}
    onSubmit=${onClose}
    actions=${html`<button type="submit" class="primary" data-autofocus>${t("app.close")}</button>`}
  >
    <p class="quiet">${shown(secret.name)}</p>
    ${problem && html`<${Trouble} problem=${problem} again=${read} />`}
    ${!problem && !access && html`<p class="quiet">${t("app.loading")}</p>`}
    ${access &&
    html`<p><strong>${t(`why.may.${access.effective}`)}</strong></p>
      <${Ways} because=${access.because} />`}
  <//>`;
}

/** A way in words: through what, with which permission, and whether it counts now. */
export function wayText(way) {
  const name = nameOf(way.principal);
  const words = [t(`why.way.${way.way}`, { name })];
  if (way.way !== "owner") words.push(t(`permission.${way.permission}`));
  if (way.since) words.push(t("why.since", { time: time(way.since) }));
  return `${words.join(" · ")}.${way.inactive ? ` ${t(`why.inactive.${way.inactive}`)}` : ""}`;
}

/** Who asked, and when; with the note where there is one. */
const askedBy = (key, { requested_by: by, requested_at, note }) =>
  `${t(key, { name: nameOf({ ...by, kind: "user" }), time: time(requested_at) })}${note ? ` “${shown(note)}”` : ""}`;

/** The jobs that gave the way what it gives, each once. */
function givers({ jobs }) {
  const given = [jobs.view, jobs.edit].filter(Boolean);
  return given.filter((one, place) => given.findIndex((other) => other.job_id === one.job_id) === place);
}

export const Ways = ({ because }) => html`<ul class="ways">
  ${because.map(
    (way) => html`<li key=${way.principal.id} class=${way.inactive ? "idle" : ""}>
      <p>${wayText(way)}</p>
      ${givers(way).map((one) => html`<p key=${one.job_id} class="quiet">${askedBy("why.by", one)}</p>`)}
      ${way.also_asked_by.map((one) => html`<p key=${one.job_id} class="quiet">${askedBy("why.also", one)}</p>`)}
    </li>`,
  )}
</ul>`;
