// Parts the work of opening a page into tasks, so that none of them is long.

/** Return a promise that is resolved in another task. @returns {Promise<void>} */
export const nextTask = () => new Promise((done) => setTimeout(done));
