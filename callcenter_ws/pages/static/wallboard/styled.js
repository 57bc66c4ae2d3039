// Sizes by CSSOM: the policy of the page allows no style attributes.
import { Directive, directive } from "../vendor/lit-html/directive.js";

class Styled extends Directive {
  /** @type {{[property: string]: string}} */
  #known = {};

  /** @param {{[property: string]: string}} _properties */
  render(_properties) {}

  /**
   * @param {import("../vendor/lit-html/directive.js").Part} part
   * @param {[{[property: string]: string}]} values
   */
  update(part, [properties]) {
    const { element } = /** @type {{element: HTMLElement | SVGElement}} */ (part);
    for (const [name, value] of Object.entries(properties)) {
      if (this.#known[name] !== value) element.style.setProperty(name, value);
    }
    this.#known = properties;
  }
}

/** Set properties of an element's style: `<p ${styled({"--size": "12px"})}>`. */
export const styled = directive(Styled);
