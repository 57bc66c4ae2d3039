/** What the widget is to be like: attributes of the script's element first, then the tenant's settings, then defaults. */

/**
 * What `GET /ws/public/widget` answers.
 * @typedef {{title?: string | null, greeting?: string | null, offline_text?: string | null, color?: string | null,
 *   position?: string | null, language?: string | null, ask_name?: boolean | null, queue_name?: string | null}} Settings
 * @typedef {{tenant_id: string, available: boolean, anonymous: boolean, widget: Settings}} Answer
 */
/**
 * @typedef {object} Options
 * @property {string | null} color
 * @property {string | null} title null: the word of the language
 * @property {string | null} greeting
 * @property {string | null} offlineText
 * @property {boolean} isLeft
 * @property {string | null} language
 * @property {"auto" | "light" | "dark"} theme
 * @property {boolean} asksName
 * @property {string | null} queue
 * @property {boolean} hasSound
 */

/**
 * Return where the script comes from and whose it is; null if it has no tenant or no valid address.
 *
 * @param {{src?: string, dataset: Record<string, string | undefined>}} script its element
 * @returns {{gateway: string, tenant: string} | null} `gateway`: the address below which `/ws/public` is, with a slash at its end
 */
export function originOf({ src, dataset }) {
  const tenant = dataset.tenant?.trim();
  try {
    const gateway = dataset.gateway ? new URL(dataset.gateway.replace(/\/*$/, "/")) : new URL(".", src);
    return tenant && /^https?:$/.test(gateway.protocol) ? { gateway: gateway.origin + gateway.pathname, tenant } : null;
  } catch {
    return null;
  }
}

/**
 * @param {Record<string, string | undefined>} given `data-` attributes
 * @param {Settings} settings
 * @returns {Options}
 */
export function optionsOf(given, settings) {
  const theme = given.theme;
  return {
    color: given.color ?? settings.color ?? null,
    title: (given.title ?? settings.title) || null,
    greeting: settings.greeting || null,
    offlineText: settings.offline_text || null,
    isLeft: /left/.test(given.position ?? settings.position ?? ""),
    language: (given.language ?? settings.language) || null,
    theme: theme === "light" || theme === "dark" ? theme : "auto",
    asksName: settings.ask_name === true,
    queue: (given.queue ?? settings.queue_name) || null,
    hasSound: given.sound !== "off",
  };
}
