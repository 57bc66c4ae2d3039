/* A histogram of latencies. */

#ifndef LOADER_LATENCY_H
#define LOADER_LATENCY_H

#include <stdint.h>

enum { BUCKETS = 2048 };

/* Counts on a logarithmic scale: 32 buckets for each power of two, in nanoseconds. */
struct latency {
    uint64_t counts[BUCKETS], total;
    int64_t max;
};

/* Count one latency; a negative one counts as 0. */
void add_latency(struct latency *l, int64_t ns);

/* Return the latency that SHARE of the events did not exceed, at most 3 % too large. */
int64_t latency_quantile(const struct latency *l, double share);

#endif
