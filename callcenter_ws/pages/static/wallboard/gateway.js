// What the wallboard asks of the gateway beside its stream: its settings, and the figures of the day.
import { token } from "../session.js";

/** The gateway has answered with an error. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Return the JSON of a resource of the gateway.
 * @param {string} path
 * @returns {Promise<any>} rejects with `Refused`, or with another error if the gateway does not answer
 */
export async function ask(path) {
  const headers = { Authorization: `Bearer ${await token({ reason: "retry" })}` };
  const answer = await fetch(path, { headers, cache: "no-store" });
  const fields = await answer.json();
  if (answer.ok) return fields;
  throw new Refused(answer.status, fields.error?.code ?? "", fields.error?.message ?? `HTTP ${answer.status}`);
}
