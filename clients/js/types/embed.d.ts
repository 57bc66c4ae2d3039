/**
 * Hand tokens to the page of the gateway in a frame, whenever it asks for one: when it connects, and before its token
 * expires. Only the page of `origin` in this frame is answered.
 *
 * @param {HTMLIFrameElement} frame
 * @param {object} options
 * @param {string} options.origin the origin of the gateway, exactly: `https://gateway.example`
 * @param {(request: {reason: string, signal: AbortSignal}) => string | Promise<string>} options.token returns a token for
 *   the user who is signed in at the site. Throw `TokenRefused` if no one is; after any other error the page asks again.
 * @param {AbortSignal} [options.signal] ends it
 * @returns {{signOut(): void, close(): void}} `signOut` closes the connection of the page, in all tabs, and removes from it
 *   what it shows; load the frame again after signing in. `close` stops handing out tokens.
 */
export function embed(frame: HTMLIFrameElement, { origin, token, signal }: {
    origin: string;
    token: (request: {
        reason: string;
        signal: AbortSignal;
    }) => string | Promise<string>;
    signal?: AbortSignal | undefined;
}): {
    signOut(): void;
    close(): void;
};
export { TokenRefused };
import { TokenRefused } from "./tokens.js";
