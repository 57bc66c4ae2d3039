/* Latencies, counted by size. */

#include "loader.h"

enum { STEPS = 32, STEP_BITS = 5 };

static unsigned bucket_of(uint64_t ns) {
    if (ns < STEPS) return ns;
    unsigned octave = 63 - __builtin_clzll(ns);
    return (octave - STEP_BITS + 1) * STEPS + ((ns >> (octave - STEP_BITS)) & (STEPS - 1));
}

/* The largest value that falls into a bucket. */
static int64_t top_of(unsigned bucket) {
    if (bucket < STEPS) return bucket;
    unsigned octave = bucket / STEPS + STEP_BITS - 1;
    return (((uint64_t)STEPS + bucket % STEPS + 1) << (octave - STEP_BITS)) - 1;
}

void note_latency(struct latency *l, int64_t ns) {
    if (ns < 0) ns = 0;
    l->counts[bucket_of(ns)]++;
    l->total++;
    if (ns > l->most) l->most = ns;
}

/* What that share of the events did not exceed; too large by 3 % at most. */
int64_t latency_below(const struct latency *l, double share) {
    uint64_t wanted = share * l->total, seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += l->counts[bucket];
        if (seen && seen >= wanted) return top_of(bucket) < l->most ? top_of(bucket) : l->most;
    }
    return l->most;
}
