// What the pages that show raised alerts share: their order, and the mark of their severity.

import { text } from "../texts.js";
import { html } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client.js").Alert} Alert */

/** Who may acknowledge alerts. */
export const MAY_ACKNOWLEDGE = new Set(["supervisor", "admin"]);

/** A shape, so that the severity does not depend on color. @param {{severity: string | null}} alert */
export const alertMark = ({ severity }) => html`<span class="mark"><span class="unseen">${text(severity === "critical" ? "severity.2" : "severity.1")}</span></span>`;

/** @param {{severity: string | null, acknowledged: boolean}} alert */
const urgency = ({ severity, acknowledged }) => (acknowledged ? 2 : severity === "critical" ? 0 : 1);

/**
 * Return the alerts with the critical ones first and those that were acknowledged last.
 * @template {{severity: string | null, acknowledged: boolean, since: number}} One
 * @param {readonly One[]} alerts
 * @returns {One[]}
 */
export const byUrgency = (alerts) => [...alerts].sort((one, other) => urgency(one) - urgency(other) || other.since - one.since);
