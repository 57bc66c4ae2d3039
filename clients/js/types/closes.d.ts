/** From this close code on, clients do not reconnect. */
export const FIRST_FINAL_CLOSE: 4500;
/** The names of the close codes. @type {Readonly<{[code: number]: string}>} */
export const CLOSE_NAMES: Readonly<{
    [code: number]: string;
}>;
