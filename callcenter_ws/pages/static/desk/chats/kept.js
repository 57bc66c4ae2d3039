// What the desk keeps while the page is loaded again: for the tab, and for one user, so that another who signs in sees none of it.

import { tab } from "../../staff/memory.js";

/** @typedef {{get: <T>(key: string, otherwise: T) => T, set: (key: string, value: unknown) => void}} Place */

export class Kept {
  #place;
  #user = "";

  /** @param {Place} [place] */
  constructor(place = tab) {
    this.#place = place;
  }

  /** Set whose it is. Before that nothing is read or written. @param {{tenant_id: string, user_id: string}} identity */
  setUser({ tenant_id, user_id }) {
    this.#user = JSON.stringify([tenant_id, user_id]);
  }

  /**
   * @template T
   * @param {string} name
   * @param {T} otherwise if nothing is kept, or it cannot be read
   * @returns {T}
   */
  read(name, otherwise) {
    return this.#user ? (this.#place.get(this.#key(name), otherwise) ?? otherwise) : otherwise;
  }

  /** Storage may be full, or not allowed: then it does not survive that the page is loaded again. @param {string} name @param {unknown} value */
  write(name, value) {
    if (this.#user) this.#place.set(this.#key(name), isEmpty(value) ? null : value);
  }

  /** @param {string} name */
  #key(name) {
    return `desk.${name}:${this.#user}`;
  }
}

/** @param {unknown} value */
const isEmpty = (value) => value == null || (typeof value === "object" && !Object.keys(value).length);
