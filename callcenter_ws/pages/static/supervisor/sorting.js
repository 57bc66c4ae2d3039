// By which column a table is sorted.

/** @typedef {string | number | null | undefined} Value */
/**
 * `isDescending`: the first click on its head sorts it so; `value` is null for rows that come last in either direction.
 * @template Row
 * @typedef {{value: (row: Row) => Value, isDescending?: boolean}} Column
 */

/** @template Row */
export class Sorting {
  column;
  isDescending;
  #columns;
  #last;

  /**
   * @param {{[name: string]: Column<Row>}} columns
   * @param {string} column by which it is sorted at first
   * @param {(row: Row) => string} last decides between equal rows
   */
  constructor(columns, column, last) {
    this.#columns = columns;
    this.#last = last;
    this.column = column;
    this.isDescending = columns[column].isDescending ?? false;
  }

  /** Sort by a column; if it is the present one, in the other direction. @param {string} column */
  choose(column) {
    this.isDescending = column === this.column ? !this.isDescending : (this.#columns[column].isDescending ?? false);
    this.column = column;
  }

  /** Return the value of `aria-sort` for a column. @param {string} column */
  aria(column) {
    return column !== this.column ? "none" : this.isDescending ? "descending" : "ascending";
  }

  /** @param {readonly Row[]} rows @returns {Row[]} */
  sorted(rows) {
    const { value } = this.#columns[this.column];
    const sign = this.isDescending ? -1 : 1;
    // Read once: a value may be made of texts.
    const keyed = rows.map((row) => ({ row, key: value(row) ?? null }));
    keyed.sort((one, other) => {
      if (one.key === null || other.key === null) return Number(one.key === null) - Number(other.key === null) || this.#between(one.row, other.row);
      return compare(one.key, other.key) * sign || this.#between(one.row, other.row);
    });
    return keyed.map(({ row }) => row);
  }

  /** @param {Row} one @param {Row} other */
  #between(one, other) {
    return compare(this.#last(one), this.#last(other));
  }
}

/** Compare without a collator: it takes long for many rows. @param {string | number} one @param {string | number} other */
const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
