/* Groups of clients, and the counts of the messages that they received. */

#include "loader_group.h"

#include <string.h>

#include "loader_util.h"

const char *const KIND[KINDS] = {"open", "event", "welcome", "resumed",    "snapshot", "reset",
                                 "gap",  "error", "pong",    "subscribed", "other"};

void append_held(struct client *c, const char *data, size_t size) {
    size_t kept = size < HEAD - c->held_size ? size : HEAD - c->held_size;
    memcpy(c->held + c->held_size, data, kept);
    c->held_size += kept;
}

void count(struct client *c, enum kind kind, int64_t now) {
    struct group *g = c->group;
    struct tally *t = &g->kinds[kind];
    uint32_t n = ++c->counts[kind];
    if (n >= t->capacity) {
        uint32_t capacity = n * 2 + 64;
        t->reached = resize(t->reached, capacity * sizeof *t->reached);
        memset(t->reached + t->capacity, 0, (capacity - t->capacity) * sizeof *t->reached);
        t->capacity = capacity;
    }
    t->reached[n]++;
    while (t->low + 1 < t->capacity && t->reached[t->low + 1] == g->size) t->low++;
    if (n > t->high) t->high = n;
    t->total++;
    t->at = now;
}

void clear_counts(struct group *g) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct tally *t = &g->kinds[kind];
        if (t->capacity) memset(t->reached, 0, t->capacity * sizeof *t->reached);
        t->low = t->high = 0;
        t->total = 0;
    }
    for (struct client *c = g->clients; c < g->clients + g->size; c++) memset(c->counts, 0, sizeof c->counts);
    g->bytes = g->wire = g->replayed = 0;
    memset(&g->latency, 0, sizeof g->latency);
}

void answer_await(struct group *g) {
    if (g->awaited < 0) return;
    struct tally *t = &g->kinds[g->awaited];
    if ((g->awaits_total ? t->total : t->low) < g->wanted && !g->lost) return;
    printf("{\"low\":%u,\"total\":%llu,\"lost\":%llu,\"at\":%lld}\n", t->low, (unsigned long long)t->total,
           (unsigned long long)g->lost, (long long)now_ns());
    fflush(stdout);
    g->awaited = -1;
}
