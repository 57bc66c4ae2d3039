// The ringing, made by the browser: no file is loaded. Browsers allow sound after the user has done something in the page.

const REPEAT_MS = 3000;
const VOLUME = 0.12;
/** Two tones of a ring, twice: frequency in Hz, beginning and length in seconds. */
const RING = [[660, 0, 0.18], [880, 0.2, 0.18], [660, 0.5, 0.18], [880, 0.7, 0.18]];
const BEEP = [[740, 0, 0.12], [990, 0.14, 0.16]];

export class Sound {
  /** @type {AudioContext | null} */
  #audio = null;
  /** @type {number | null} */
  #timer = null;
  #unlocked;

  /** @param {() => void} unlocked is called when sound has become possible */
  constructor(unlocked) {
    this.#unlocked = unlocked;
    const unlock = () => this.#unlock();
    // Not while the button of the mouse is down: what is shown then changes, and a button that has moved is not pressed.
    for (const name of ["click", "keydown"]) document.addEventListener(name, unlock, { capture: true });
  }

  /** Whether this page may make a sound now. */
  get isPossible() {
    return this.#audio?.state === "running";
  }

  /** Whether it rings. */
  get isRinging() {
    return this.#timer !== null;
  }

  /** Ring until `stop`. */
  ring() {
    if (this.#timer !== null || !this.isPossible) return;
    this.#play(RING);
    this.#timer = setInterval(() => this.#play(RING), REPEAT_MS);
  }

  /** End the ringing. */
  stop() {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** Make a short sound. */
  beep() {
    if (this.isPossible) this.#play(BEEP);
  }

  async #unlock() {
    if (this.isPossible) return;
    try {
      this.#audio ??= new AudioContext();
      await this.#audio.resume();
      if (this.isPossible) this.#unlocked();
    } catch {
      // A machine without sound.
    }
  }

  /** @param {number[][]} tones */
  #play(tones) {
    const audio = /** @type {AudioContext} */ (this.#audio);
    for (const [frequency, begin, length] of tones) {
      const at = audio.currentTime + begin;
      const tone = new OscillatorNode(audio, { frequency, type: "sine" });
      const gain = new GainNode(audio, { gain: 0 });
      // Without a slope it clicks.
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(VOLUME, at + 0.02);
      gain.gain.linearRampToValueAtTime(0, at + length);
      tone.connect(gain).connect(audio.destination);
      tone.start(at);
      tone.stop(at + length);
    }
  }
}
