/** What tells of new messages beside the launcher: the title of a page in the background, and one short sound. */

/** After how long a sound is made for what is still unread: another tab, or this one, has perhaps shown it. */
const RING_MS = 400;
const TITLE = /^\(\d+\) /;

/** @param {{rings: () => boolean}} chat @param {() => boolean} hasSound */
export function attentionOf(chat, hasSound) {
  /** @type {AudioContext | null} */
  let audio = null;
  /** The title that was set here. @type {string | null} */
  let title = null;

  // Browsers allow sounds after the user has done something in the page.
  const unlock = () => {
    if (!hasSound() || !window.AudioContext || navigator.userActivation?.hasBeenActive === false) return;
    audio ??= new AudioContext();
    if (audio.state === "suspended") audio.resume().catch(() => {});
  };

  const ring = () => {
    if (audio?.state !== "running" || !hasSound() || !chat.rings()) return;
    const at = audio.currentTime;
    const volume = audio.createGain();
    volume.gain.setValueAtTime(0.0001, at);
    volume.gain.exponentialRampToValueAtTime(0.15, at + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.0001, at + 0.5);
    volume.connect(audio.destination);
    for (const [frequency, delay] of [[880, 0], [1174, 0.12]]) {
      const tone = audio.createOscillator();
      tone.frequency.value = frequency;
      tone.connect(volume);
      tone.start(at + delay);
      tone.stop(at + 0.5);
    }
  };

  return {
    unlock,
    /** A message has come. */
    message: () => void setTimeout(ring, RING_MS),
    /** Show how many messages are unread in the title of a page that is in the background, and remove it afterwards. @param {number} unread */
    show(unread) {
      const isOurs = title !== null && document.title === title;
      const own = isOurs ? document.title.replace(TITLE, "") : document.title;
      const wanted = document.hidden && unread ? `(${unread}) ${own}` : own;
      if (!isOurs && wanted === own) return;
      title = wanted === own ? null : wanted;
      if (document.title !== wanted) document.title = wanted;
    },
  };
}
