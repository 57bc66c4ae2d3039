/* A histogram of latencies. */

#include "loader_latency.h"

enum { STEPS = 32, STEP_BITS = 5 };

static unsigned bucket_of(uint64_t ns) {
    if (ns < STEPS) return ns;
    unsigned octave = 63 - __builtin_clzll(ns);
    return (octave - STEP_BITS + 1) * STEPS + ((ns >> (octave - STEP_BITS)) & (STEPS - 1));
}

/* The largest value of a bucket. */
static int64_t upper_bound(unsigned bucket) {
    if (bucket < STEPS) return bucket;
    unsigned octave = bucket / STEPS + STEP_BITS - 1;
    return (((uint64_t)STEPS + bucket % STEPS + 1) << (octave - STEP_BITS)) - 1;
}

void add_latency(struct latency *l, int64_t ns) {
    if (ns < 0) ns = 0;
    l->counts[bucket_of(ns)]++;
    l->total++;
    if (ns > l->max) l->max = ns;
}

int64_t latency_quantile(const struct latency *l, double share) {
    uint64_t wanted = share * l->total, seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += l->counts[bucket];
        if (seen && seen >= wanted) return upper_bound(bucket) < l->max ? upper_bound(bucket) : l->max;
    }
    return l->max;
}
