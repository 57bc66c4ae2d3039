export class Stream {
    /** The position after which to resume; null: a snapshot is needed. @type {Position | null} */
    position: Position | null;
    /**
     * Return what to do with an event: whether the store applies it, and whether it is reported to the page (`tell`). Then call
     * `done`.
     *
     * @param {Message} message
     * @returns {{apply: boolean, tell: boolean}}
     */
    event(message: Message): {
        apply: boolean;
        tell: boolean;
    };
    /** Note that an event was applied and reported. @param {Message} message */
    done(message: Message): void;
    /** Move to the end of a replay. @param {{epoch: string, to_seq: number}} payload */
    resumed({ epoch, to_seq: seq }: {
        epoch: string;
        to_seq: number;
    }): void;
    /**
     * Move to a snapshot that the store has loaded, and return why it was needed.
     *
     * @param {Position} position
     * @returns {Rebuilt}
     */
    loaded({ epoch, seq }: Position): Rebuilt;
    /**
     * Wait for a snapshot: what the store holds is not complete.
     *
     * @param {Rebuilt} why
     */
    rebuild(why: Rebuilt): void;
    #private;
}
export type Position = import("./types.js").Position;
export type Event = Message & {
    seq: number;
    id: string;
};
export type Message = import("./types.js").Message;
export type Rebuilt = import("./types.js").Rebuilt;
