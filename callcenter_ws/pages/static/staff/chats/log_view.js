// Where the logs of the chats are scrolled to: at the newest message, unless the reader has scrolled up.

import { Directive, directive } from "../../vendor/lit-html/directive.js";
import { noChange } from "../../vendor/lit-html/lit-html.js";

/** So near to the end counts as the end. */
const NEAR_PX = 24;

/** @typedef {{element: HTMLElement | null, isAtEnd: boolean, top: number}} Place */

export class LogPlaces {
  /** By chat. @type {Map<string, Place>} */
  #places = new Map();
  #moved;
  #observer;

  /** @param {(chat: string) => void} moved is called when the reader has come to the end, or has left it */
  constructor(moved) {
    this.#moved = moved;
    this.#observer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const place = [...this.#places.values()].find(({ element }) => element === target);
        if (place) this.#restore(place);
      }
    });
  }

  /** Whether the newest message is what the reader sees. @param {string} chat */
  isAtEnd(chat) {
    return this.#placeOf(chat).isAtEnd;
  }

  /** Note which element shows the log of a chat. @param {string} chat @param {HTMLElement} element */
  attach(chat, element) {
    const place = this.#placeOf(chat);
    if (place.element === element) return;
    for (const other of this.#places.values()) if (other.element === element) other.element = null;
    if (place.element) this.#observer.unobserve(place.element);
    place.element = element;
    this.#observer.observe(element);
  }

  /** Note that the reader has scrolled. @param {string} chat @param {HTMLElement} element */
  scrolled(chat, element) {
    const place = this.#placeOf(chat);
    // Only a reader who moves up leaves the end: the event may come late, when messages were added since.
    const isUp = element.scrollTop < place.top - 1;
    place.top = element.scrollTop;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight <= NEAR_PX || (place.isAtEnd && !isUp);
    if (isAtEnd === place.isAtEnd) return;
    place.isAtEnd = isAtEnd;
    this.#moved(chat);
  }

  /** Go to the newest message. @param {string} chat */
  toEnd(chat) {
    const place = this.#placeOf(chat);
    place.isAtEnd = true;
    this.#restore(place);
    this.#moved(chat);
  }

  /** After a frame was drawn: keep the newest messages in view, and forget the chats that are gone. @param {ReadonlySet<string>} chats */
  settle(chats) {
    for (const [chat, place] of this.#places) {
      if (place.element && !place.element.isConnected) {
        this.#observer.unobserve(place.element);
        place.element = null;
      }
      if (!chats.has(chat)) this.#places.delete(chat);
      else if (place.isAtEnd) this.#restore(place);
    }
  }

  /** @param {Place} place */
  #restore(place) {
    const { element, isAtEnd, top } = place;
    if (!element) return;
    const wanted = isAtEnd ? element.scrollHeight : top;
    if (Math.abs(element.scrollTop - wanted) > 1) element.scrollTop = wanted;
    if (isAtEnd) place.top = element.scrollTop;
  }

  /** @param {string} chat */
  #placeOf(chat) {
    let place = this.#places.get(chat);
    if (!place) this.#places.set(chat, (place = { element: null, isAtEnd: true, top: 0 }));
    return place;
  }
}

class Placed extends Directive {
  /** @param {LogPlaces} _places @param {string} _chat */
  render(_places, _chat) {
    return noChange;
  }

  /**
   * @param {import("../../vendor/lit-html/directive.js").Part} part
   * @param {[LogPlaces, string]} values
   */
  update(part, [places, chat]) {
    places.attach(chat, /** @type {{element: HTMLElement}} */ (/** @type {unknown} */ (part)).element);
    return noChange;
  }
}

/** Have the element be the log of a chat: `<div ${placed(places, chat)}>`. */
export const placed = directive(Placed);

class Unchanged extends Directive {
  /** @type {readonly unknown[] | null} */
  #known = null;

  /** @param {readonly unknown[]} depends @param {() => unknown} make */
  render(depends, make) {
    const known = this.#known;
    if (known !== null && known.length === depends.length && known.every((one, at) => one === depends[at])) return noChange;
    this.#known = depends;
    return make();
  }
}

/** Draw a part of a template again only if something that it depends on is another: `${unchanged([chat], () => html`…`)}`. */
export const unchanged = directive(Unchanged);
