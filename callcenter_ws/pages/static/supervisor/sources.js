// The section of the sources: what sends events and carries commands out, and since when it does not.
import { hasText, isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { since } from "../staff/clock.js";
import { since as sinceWhen } from "../wallboard/format.js";
import { word } from "./shown.js";

/** @typedef {import("./main.js").Context} Context */

export class SourcesSection {
  #context;

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
  }

  /** Return how many sources are down. */
  badge() {
    return this.#context.client.store.sources().filter(({ up }) => !up).length;
  }

  template() {
    // Those that are down come first.
    const sources = [...this.#context.client.store.sources()].sort((one, other) => Number(one.up) - Number(other.up));
    if (!sources.length) return html`<p class="empty">${text("supervisor.sources.none")}<span class="quiet">${text("supervisor.sources.none.hint")}</span></p>`;
    const rows = repeat(sources, ({ name }) => name, (source) => this.#row(source));
    return html`
      <table class="data sources">
        <caption class="unseen">${text("supervisor.section.sources")}</caption>
        <thead><tr>
          <th scope="col" class="of-name">${text("supervisor.source.name")}</th><th scope="col">${text("supervisor.source.state")}</th><th scope="col" class="number">${text("supervisor.source.since")}</th>
          <th scope="col" class="wide">${text("supervisor.source.kind")}</th><th scope="col" class="wider">${text("supervisor.source.commands")}</th>
        </tr></thead>
        <tbody>${rows}</tbody>
      </table>`;
  }

  /** @param {any} source */
  #row({ name, up, since: began, kind, reason, version, commands }) {
    const words = kind ? text("supervisor.source.version", { kind: isolated(kind), version: version ? isolated(version) : "" }) : text("figure.none");
    return html`
      <tr data-key=${name} data-severity=${up ? 0 : 2}>
        <th scope="row" class="of-name"><bdi>${name}</bdi></th>
        <td><span class="tag ${up ? "up" : "breach"}">${text(up ? "supervisor.source.up" : "supervisor.source.down")}</span>${!up && reason ? html` <span class="quiet">${isolated(word("reason", reason))}</span>` : nothing}</td>
        <td class="number">${since(began)} <span class="quiet">${sinceWhen(began, this.#context.client.now(), null)}</span></td>
        <td class="wide">${words}</td>
        <td class="wider">${commandsOf(commands)}</td>
      </tr>`;
  }
}

/** @param {string[] | null | undefined} commands */
function commandsOf(commands) {
  if (commands == null) return html`<span class="quiet">${text("supervisor.source.commands.unknown")}</span>`;
  if (!commands.length) return html`<span class="quiet">${text("supervisor.source.commands.none")}</span>`;
  const name = (/** @type {string} */ one) => (hasText(`action.name.${one}`) ? text(`action.name.${one}`) : one);
  return html`<details><summary>${text("supervisor.source.commands.count", { n: commands.length })}</summary><ul class="tags">${commands.map((one) => html`<li class="tag" title=${one}>${name(one)}</li>`)}</ul></details>`;
}
