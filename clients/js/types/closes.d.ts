export const FIRST_FINAL_CLOSE: 4500;
/** @type {Readonly<{[code: number]: {name: string, text: string, reconnect: boolean}}>} */
export const CLOSES: Readonly<{
    [code: number]: {
        name: string;
        text: string;
        reconnect: boolean;
    };
}>;
