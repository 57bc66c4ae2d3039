/**
 * The widget's own words: a table for each language. A site adds one, or changes words, with `window.callcenterWidget.texts`.
 * `{name}` stands for a value.
 */

/** @typedef {keyof typeof TABLES.en} Word */
/** @typedef {Record<string, Partial<Record<Word, string>>>} Tables by language */
/** @typedef {(word: Word, values?: Record<string, string | number>) => string} Say */

export const TABLES = {
  en: {
    title: "Chat",
    greeting: "Hello! How can we help you?",
    offline_text: "We are not available at the moment. Leave a message, and we will answer by e-mail.",
    open: "Open chat: {title}",
    unread: "{count} new",
    close: "Close chat",
    online: "Online",
    away: "Not available at the moment",
    waiting: "Waiting for an agent…",
    accepted: "An agent has joined",
    talking: "You are chatting with {name}",
    agent: "Agent",
    you: "You",
    log: "Messages",
    name: "Your name",
    email: "E-mail address",
    optional: "optional",
    message: "Your message",
    send: "Send",
    characters: "{count} characters left",
    sending: "sending…",
    published: "sent",
    failed: "Not sent.",
    retry: "Try again",
    typing: "{name} is typing…",
    offline_done: "Thank you. Your message has arrived, and we will answer to {email}.",
    lost: "No connection. What you write is kept, and sent as soon as the connection is back.",
    now: "Connect now",
    end: "End chat",
    sure: "End this chat?",
    ended: "The chat has ended.",
    expired: "This chat cannot be continued any more.",
    again: "Start a new chat",
    refused: "We cannot take your message here at the moment. Please use another way to reach us.",
    sound_off: "Turn sound off",
    sound_on: "Turn sound on",
    links: "opens in a new tab",
  },
  de: {
    title: "Chat",
    greeting: "Guten Tag! Wie können wir Ihnen helfen?",
    offline_text: "Wir sind gerade nicht erreichbar. Hinterlassen Sie eine Nachricht, wir antworten per E-Mail.",
    open: "Chat öffnen: {title}",
    unread: "{count} neu",
    close: "Chat schließen",
    online: "Online",
    away: "Gerade nicht erreichbar",
    waiting: "Sie werden verbunden…",
    accepted: "Ein Mitarbeiter ist da",
    talking: "Sie chatten mit {name}",
    agent: "Mitarbeiter",
    you: "Sie",
    log: "Nachrichten",
    name: "Ihr Name",
    email: "E-Mail-Adresse",
    optional: "freiwillig",
    message: "Ihre Nachricht",
    send: "Senden",
    characters: "noch {count} Zeichen",
    sending: "wird gesendet…",
    published: "gesendet",
    failed: "Nicht gesendet.",
    retry: "Erneut versuchen",
    typing: "{name} schreibt…",
    offline_done: "Vielen Dank. Ihre Nachricht ist angekommen, wir antworten an {email}.",
    lost: "Keine Verbindung. Was Sie schreiben, bleibt erhalten und wird gesendet, sobald die Verbindung wieder steht.",
    now: "Jetzt verbinden",
    end: "Chat beenden",
    sure: "Diesen Chat beenden?",
    ended: "Der Chat ist beendet.",
    expired: "Dieser Chat kann nicht mehr fortgesetzt werden.",
    again: "Neuen Chat beginnen",
    refused: "Wir können Ihre Nachricht hier gerade nicht annehmen. Bitte erreichen Sie uns auf einem anderen Weg.",
    sound_off: "Ton ausschalten",
    sound_on: "Ton einschalten",
    links: "öffnet einen neuen Tab",
  },
};

/**
 * Return the first language for which there is a table, without its region: `de` for `de-AT`.
 *
 * @param {(string | null | undefined)[]} wanted in the order of preference
 * @param {Tables} [more] tables of the site
 */
export function languageOf(wanted, more = {}) {
  for (const tag of wanted) {
    const language = (tag ?? "").trim().toLowerCase().split(/[-_]/)[0];
    if (Object.keys({ ...TABLES, ...more }).includes(language)) return language;
  }
  return "en";
}

/**
 * Return the function that says a word in a language; what its tables lack is said in English.
 *
 * @param {string} language
 * @param {Tables} [more] tables of the site, which precede
 * @returns {Say}
 */
export function wordsOf(language, more = {}) {
  const words = { ...TABLES.en, .../** @type {Tables} */ (TABLES)[language], ...more[language] };
  return (word, values = {}) => String(words[word] ?? word).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}
