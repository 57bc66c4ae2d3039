/* Time, memory and fatal errors. */

#ifndef LOADER_UTIL_H
#define LOADER_UTIL_H

#include <stddef.h>
#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t now_ns(void);

/* Write "loader: WHAT: WHICH" to stderr and exit with status 2. */
void die(const char *what, const char *which);

/* realloc(3) that exits when there is no memory. */
void *resize(void *memory, size_t size);

#endif
