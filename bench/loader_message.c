/* The messages of a server: events and control messages. */

#define _GNU_SOURCE
#include "loader_message.h"

#include <stdlib.h>
#include <string.h>

static const char *after_string(const char *p, const char *end) {
    for (; p < end; p++) {
        if (*p == '\\') p++;
        else if (*p == '"') return p + 1;
    }
    return NULL;
}

/* The seq of a stream event, or 0. *type is set to the text of "type" if that precedes "seq". */
static uint64_t seq_of(const char *p, const char *end, const char **type, size_t *type_size) {
    *type = "";
    *type_size = 0;
    if (p >= end || *p++ != '{') return 0;
    while (p < end && *p == '"') {
        const char *key = p + 1, *value = after_string(key, end);
        if (!value || value >= end || *value++ != ':' || value >= end) return 0;
        if (value - key == 5 && !memcmp(key, "seq", 3)) return strtoull(value, NULL, 10);
        if (*value == '{' || *value == '[') return 0;
        if (*value == '"') {
            p = after_string(value + 1, end);
            if (!p) return 0;
            if (value - key == 6 && !memcmp(key, "type", 4)) {
                *type = value + 1;
                *type_size = p - value - 2;
            }
        } else {
            p = memchr(value, ',', end - value);
            if (!p) return 0;
        }
        if (p < end && *p == ',') p++;
    }
    return 0;
}

static uint64_t number_after(const char *name, const char *p, const char *end) {
    const char *found = memmem(p, end - p, name, strlen(name));
    return found ? strtoull(found + strlen(name), NULL, 10) : UINT64_MAX;
}

static void time_event(struct group *g, uint64_t seq, const char *p, const char *end, int64_t now) {
    uint64_t index = seq % INSTANTS;
    if (g->instants[index].seq != seq) {
        uint64_t sent = number_after("\"sent_ns\":", p, end);
        g->instants[index].seq = seq;
        g->instants[index].sent = sent == UINT64_MAX ? 0 : (int64_t)sent;
    }
    if (g->instants[index].sent) add_latency(&g->latency, now - g->instants[index].sent);
}

static void handle_event(struct client *c, uint64_t seq, int64_t now) {
    uint64_t expected = c->seq ? c->seq + 1 : c->first;
    if (seq <= c->seq || seq < c->first) c->group->disorder++;
    else if (expected && seq != expected) c->group->gaps += seq - expected;
    c->seq = seq;
    count(c, EVENT, now);
}

static void handle_control(struct client *c, const char *type, size_t size, const char *p, const char *end,
                           int64_t now) {
    int kind = WELCOME;
    while (kind < OTHER && (strlen(KIND[kind]) != size || memcmp(KIND[kind], type, size))) kind++;
    if (kind == RESUMED) {
        /* Only replayed events may precede it. */
        uint64_t replayed = number_after("\"count\":", p, end);
        uint64_t until = number_after("\"to_seq\":", p, end);
        if (replayed != c->counts[EVENT] || (replayed && until != c->seq)) c->group->mismatches++;
        c->group->replayed += replayed;
    } else if (kind == SNAPSHOT) {
        c->first_byte = c->frame_at;
        c->last_byte = now;
        c->snapshot_size = c->size;
    }
    count(c, kind, now);
}

void handle_message(struct client *c, const char *text, size_t shown, uint64_t size, int64_t now) {
    const char *end = text + shown, *type;
    size_t type_size;
    c->group->bytes += size;
    uint64_t seq = seq_of(text, end, &type, &type_size);
    if (seq) {
        time_event(c->group, seq, text, end, now);
        handle_event(c, seq, now);
    } else {
        handle_control(c, type, type_size, text, end, now);
    }
}
